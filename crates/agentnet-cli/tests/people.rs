//! Friends, blocks, documents, profiles, who is online, and threads with members, on an open network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::AgentNode;
use support::{Ran, agents::shared};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

/// An agent of this test alone.
fn agent(name: &str) -> AgentNode {
    shared().runtime.block_on(AgentNode::builder(name).nats_url(&shared().url).start()).unwrap()
}

#[test]
fn friends_are_added_noted_and_removed() {
    let (_fay, _gus) = (agent("fay"), agent("gus"));
    let me = ["--account", "@fay"];
    let run_as = |args: &[&str]| run(&[args, &me].concat());
    run_as(&["friends", "list"]).exits(0).says("No friends yet");
    run_as(&["friends", "add", "@gus", "--note", "from work"]).exits(0).says("@gus is a friend now.");
    run_as(&["friends", "add", "@gus"]).exits(0).says("@gus is a friend.");
    run_as(&["friends", "list"]).exits(0).says("@gus").says("from work").says("yes");
    run_as(&["friends", "note", "@gus", "from school"]).exits(0).says("noted");
    let listed = run_as(&["friends", "list", "--json"]).exits(0).json();
    assert_eq!(listed["peers"][0]["note"], "from school");
    run_as(&["friends", "remove", "@gus"]).exits(0).says("no friend any more");
    run_as(&["friends", "remove", "@gus"]).exits(0).says("was no friend");
    run_as(&["friends", "add", "@no_such_account"]).exits(2).warns("error: not_found:");
    run(&["friends", "list"]).exits(2).warns("account_id is required").warns("hint:");
}

#[test]
fn blocks_are_made_and_lifted() {
    let (hal, ivy) = (agent("hal"), agent("ivy"));
    run(&["block", "@ivy", "--account", "@hal"]).exits(0).says("is blocked");
    run(&["blocked", "--account", "@hal"]).exits(0).says("@ivy");
    let send = |text: &str| shared().runtime.block_on(async { ivy.send("@hal", text).await });
    assert_eq!(send("hello").unwrap_err().code(), "blocked");
    run(&["unblock", "@ivy", "--account", "@hal"]).exits(0).says("isn't blocked");
    run(&["blocked", "--account", "@hal"]).exits(0).says("Nobody is blocked");
    assert!(send("hello").unwrap().stored);
    run(&["block", "@no_such_account", "--account", hal.account_id()]).exits(2).warns("error: not_found:");
}

#[test]
fn documents_are_put_listed_and_deleted() {
    let (_jan, _kim) = (agent("jan"), agent("kim"));
    let me = ["--account", "@jan"];
    let run_as = |args: &[&str]| run(&[args, &me].concat());
    run_as(&["data", "put", "card", r#"{"likes": ["tea"]}"#, "--public"]).exits(0).says("everybody reads it");
    run_as(&["data", "put", "diary", "\"secret\""]).exits(0).says("only you read it");
    assert_eq!(run_as(&["data", "get", "card"]).exits(0).stdout.trim(), r#"{"likes": ["tea"]}"#);
    run(&["data", "get", "card", "--owner", "@jan", "--account", "@kim"]).exits(0).says("tea");
    run(&["data", "get", "diary", "--owner", "@jan", "--account", "@kim"])
        .exits(2)
        .warns("error: not_found:");
    run_as(&["data", "list"]).exits(0).says("card").says("diary").says("everybody").says("you");
    run(&["data", "list", "--all", "--values"]).exits(0).says("card").says("tea");
    run(&["data", "list", "--all", "--prefix", "card"]).exits(2);
    run_as(&["data", "list", "--prefix", "card"]).exits(0).says("card");
    let listed = run(&["data", "list", "--owner", "@jan", "--json"]).exits(0).json();
    assert_eq!(listed["documents"].as_array().unwrap().len(), 1);
    run_as(&["data", "delete", "card"]).exits(0).says("deleted");
    run_as(&["data", "delete", "card"]).exits(0).says("there was no such key");
    run_as(&["data", "put", "bad", "not json"]).exits(1);
}

#[test]
fn profiles_have_pictures_and_capabilities() {
    let _lea = agent("lea");
    let set = |args: &[&str]| run(&[&["profile", "set", "--account", "@lea"], args].concat());
    set(&["--avatar-url", "https://example.org/lea.png", "--capability", "draw", "--capability", "sing"])
        .exits(0);
    run(&["profile", "--username", "lea"])
        .exits(0)
        .says("https://example.org/lea.png")
        .says("draw")
        .says("sing");
    set(&["--avatar-url", "javascript:x"]).exits(2).warns("error: invalid_field:");
    set(&["--capability", ""]).exits(0);
    let shown = run(&["profile", "--username", "lea", "--json"]).exits(0).json();
    assert_eq!(shown["profile"]["capabilities"], serde_json::json!([]));
    run(&["profile", "set", "--help"]).exits(0).says("open network").says("private accounts too");
}

#[test]
fn online_tells_of_many_at_once() {
    let _mia = agent("mia");
    run(&["online", "@mia", "@no_such_account"]).exits(0).says("@mia").says("yes").says("unknown");
    let told = run(&["online", "--json", "mia"]).exits(0).json();
    assert_eq!(
        (&told["accounts"][0]["online"], &told["accounts"][0]["asked"]),
        (&true.into(), &"mia".into())
    );
}

#[test]
fn threads_are_described_read_and_closed() {
    let (nia, oli) = (agent("nia"), agent("oli"));
    let thread = "thread_cli_people";
    run(&[
        "thread",
        "create",
        "--account",
        "@nia",
        "--thread-id",
        thread,
        "--title",
        "Plans",
        "--subject",
        "what to do",
        "--metadata",
        r#"{"color": "red"}"#,
        "@oli",
    ])
    .exits(0)
    .says("Plans")
    .says("what to do");
    run(&["thread", "list", "--invited", "--account", "@oli"]).exits(0).says(thread).says("invited");
    run(&["thread", "accept", thread, "--account", "@oli"]).exits(0).says("joined");
    shared().runtime.block_on(async { nia.send(format!("thread:{thread}"), "hello").await }).unwrap();
    let unread = || {
        let listed = run(&["thread", "list", "--account", "@oli", "--json"]).exits(0).json();
        listed["conversations"][0]["unread"].as_i64().unwrap()
    };
    assert_eq!(unread(), 1);
    run(&["thread", "list", "--unread", "--account", "@oli"]).exits(0).says(thread);
    run(&["thread", "read", thread, "--account", "@oli"]).exits(0).says("0 unread");
    assert_eq!(unread(), 0);
    run(&["thread", "role", thread, "@oli", "admin", "--account", "@nia"]).exits(0).says("admin");
    run(&["thread", "set", thread, "--title", "Changed", "--account", "@oli"]).exits(0).says("Changed");
    run(&["thread", "set", thread, "--account", "@oli"]).exits(2);
    run(&["thread", "close", thread, "--account", "@oli"]).exits(2).warns("error: forbidden:");
    run(&["thread", "close", thread, "--account", "@nia"]).exits(0).says("closed");
    let refused = shared().runtime.block_on(async { oli.send(format!("thread:{thread}"), "late").await });
    assert_eq!(refused.unwrap_err().code(), "thread_closed");
    run(&["thread", "list", "--account", "@oli"]).exits(0).says("admin, closed");
}
