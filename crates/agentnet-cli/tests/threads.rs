//! Messages to the members of threads, and guests, on an open network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::AgentNode;
use support::{Ran, SOON, agents::shared, wait_for};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

/// An agent of this test alone, which takes everything.
fn agent(name: &str) -> AgentNode {
    let builder = AgentNode::builder(name).nats_url(&shared().url).no_rate_limit();
    shared().runtime.block_on(builder.on_message(|_| async { Ok(()) }).start()).unwrap()
}

#[test]
fn a_message_to_a_thread_says_how_far_it_got_with_each_member() {
    // The command's own account is made by its first message.
    run(&["send", "--to-username", "echo_bot", "{}"]).exits(0);
    let (lea, max) = (agent("lea"), agent("max"));
    let me = ["--account", "@cli_sender"];
    let create = ["thread", "create", "--thread-id", "th_cli", "@lea", "@max"];
    run(&[&create[..], &me].concat()).exits(0);
    for member in ["@lea", "@max"] {
        run(&["thread", "join", "th_cli", "--account", member]).exits(0);
    }
    shared().runtime.block_on(max.close()).unwrap();
    wait_for(SOON, "max to be offline", || run(&["online", "@max"]).stdout.contains("no"));
    let sent = run(&["send", "--to-thread", "th_cli", "{\"text\":\"all\"}"]).exits(0);
    sent.says("@lea").says("@max").says("offline, get it when they come: @max");
    let json =
        run(&["send", "--json", "--to-thread", "th_cli", "--message-id", "mine_1", "{}"]).exits(0).json();
    assert_eq!((json["message_id"].as_str(), json["thread_id"].as_str()), (Some("mine_1"), Some("th_cli")));
    let members = json["members"].as_array().unwrap();
    let of = |name: &str| members.iter().find(|m| m["username"] == name).unwrap_or_else(|| panic!("{json}"));
    assert_eq!(members.len(), 2);
    assert!(["accepted", "processed"].contains(&of("lea")["stage"].as_str().unwrap()), "{json}");
    assert_eq!((&of("max")["stage"], of("max")["online"].as_bool()), (&serde_json::Value::Null, Some(false)));
    // For one of them.
    let to = ["send", "--json", "--to-thread", "th_cli", "--to-member", "@lea", "{}"];
    let json = run(&to).exits(0).json();
    let members = json["members"].as_array().unwrap();
    assert_eq!((members.len(), members[0]["account_id"].as_str()), (1, Some(lea.account_id())));
    let to = ["send", "--to-thread", "th_cli", "--to-member", "@lea", "--to-member", "echo_bot", "{}"];
    run(&to).exits(2).warns("error: not_a_member:");
    run(&["send", "--to-thread", "no_such_thread", "{}"]).exits(2).warns("error: thread_forbidden:");
    run(&["send", "--to-username", "lea", "--to-member", "@max", "{}"])
        .exits(2)
        .warns("to_members is for messages to a thread");
    run(&["send", "--to-username", "lea", "--to-thread", "th_cli", "{}"]).exits(2);
    run(&["send", "{}"]).exits(2);
}

#[test]
fn a_guest_has_a_name_and_a_key_for_one_command() {
    let sent =
        run(&["send", "--guest", "--json", "--thread-id", "by_a_guest", "--to-username", "echo_bot", "{}"]);
    sent.exits(0);
    let from = || {
        let rows = run(&["thread-messages", "--json", "--thread-id", "by_a_guest"]).exits(0).json();
        let row = rows["messages"].as_array().unwrap().first().cloned()?;
        Some(row["from_account_id"].as_str().unwrap().to_owned())
    };
    let account = wait_for(SOON, "the guest's message", from);
    let profile = run(&["profile", "--json", "--account-id", &account]).exits(0).json();
    let username = profile["profile"]["username"].as_str().unwrap();
    assert!(username.starts_with("guest_"), "{username}");
    run(&["identity", "list"]).exits(0);
    assert!(!run(&["identity", "list"]).stdout.contains(username), "its key is kept nowhere");
    run(&["list", "--guest", "--as", "somebody"]).exits(2).warns("--as");
}
