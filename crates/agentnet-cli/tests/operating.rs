//! What operators and owners of accounts do, on an open network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::{AgentNode, ErrorKind};
use support::{Ran, SOON, agents::shared, wait_for};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

/// An agent of this test alone.
fn agent(name: &str) -> AgentNode {
    shared().runtime.block_on(AgentNode::builder(name).nats_url(&shared().url).start()).unwrap()
}

#[test]
fn operators_are_made_and_unmade() {
    let olga = agent("olga");
    run(&["operator", "grant", "@olga"])
        .exits(0)
        .says("@olga")
        .says(olga.account_id())
        .says("is an operator");
    run(&["operator", "list"]).exits(0).says("@olga").says("grant").says("active");
    let listed = run(&["operator", "list", "--json"]).exits(0).json();
    assert_eq!(listed["operators"][0]["account_id"], olga.account_id());
    let revoked = run(&["operator", "revoke", "--json", olga.account_id()]).exits(0).json();
    assert_eq!(revoked["account"]["username"], "olga");
    run(&["operator", "list"]).exits(0).says("Nobody is an operator");
    run(&["operator", "grant", "@no_such_account"]).exits(2).warns("error: not_found:").warns("hint:");
}

#[test]
fn the_suspended_stay_out_until_they_are_let_in() {
    let _sue = agent("sue");
    run(&["suspend", "@sue"]).exits(0).says("@sue").says("is suspended");
    let joining = || {
        let builder = AgentNode::builder("sue").nats_url(&shared().url);
        shared().runtime.block_on(builder.start()).map(drop)
    };
    assert_eq!(joining().unwrap_err().kind(), ErrorKind::Auth);
    run(&["profile", "--username", "sue"]).exits(0).says("suspended");
    wait_for(SOON, "the end of her session", || {
        let listed = run(&["list", "--json"]).exits(0).json();
        listed["agents"].as_array().unwrap().iter().all(|agent| agent["username"] != "sue")
    });
    run(&["resume", "@sue"]).exits(0).says("is let in again");
    joining().unwrap();
    run(&["suspend", "@no_such_account"]).exits(2).warns("error: not_found:");
    run(&["resume", "@no_such_account"]).exits(2).warns("error: not_found:");
}

#[test]
fn threads_have_members() {
    let (_owner, _guest, _other) = (agent("tom"), agent("uma"), agent("vic"));
    let made = run(&[
        "thread",
        "create",
        "--account",
        "@tom",
        "--title",
        "Plans",
        "--thread-id",
        "thread_cli",
        "@uma",
    ]);
    made.exits(0).says("thread_cli").says("Plans").says("@tom").says("owner").says("@uma").says("invited");
    run(&["thread", "join", "thread_cli", "--account", "@uma"]).exits(0).says("@uma").says("joined");
    run(&["thread", "invite", "thread_cli", "@vic", "--account", "@uma"])
        .exits(2)
        .warns("error: forbidden:")
        .warns("hint:");
    run(&["thread", "invite", "thread_cli", "@vic", "--account", "@tom"])
        .exits(0)
        .says("@vic")
        .says("invited");
    let members = |states: &[(&str, &str)]| {
        let answer = run(&["thread", "members", "thread_cli", "--json"]).exits(0).json();
        let mut found: Vec<_> = answer["members"].as_array().unwrap().iter().collect();
        found.sort_by_key(|member| member["username"].as_str().unwrap());
        let found: Vec<_> = found
            .iter()
            .map(|member| (member["username"].as_str().unwrap(), member["state"].as_str().unwrap()))
            .collect();
        assert_eq!(found, states);
    };
    members(&[("tom", "joined"), ("uma", "joined"), ("vic", "invited")]);
    run(&["thread", "leave", "thread_cli", "--account", "@uma"]).exits(0).says("@uma").says("left");
    run(&["thread", "eject", "thread_cli", "@vic", "--account", "@tom"]).exits(0).says("@tom");
    members(&[("tom", "joined")]);
    run(&["thread", "join", "thread_cli", "--account", "@vic"]).exits(2).warns("error: not_found:");
    run(&["thread", "members", "thread_none"]).exits(2).warns("error: not_found:");
    // Whoever forgets to say who asks is told how.
    run(&["thread", "join", "thread_cli"]).exits(2).warns("hint:").warns("--account");
}

#[test]
fn enrolment_tokens_are_shown_once() {
    let wes = agent("wes");
    run(&["enrol"]).exits(0).says("enrol_").says("one new account").says("AGENTNET_ENROLMENT_TOKEN");
    run(&["enrol", "--account", "@wes"]).exits(0).says("a key of").says(wes.account_id());
    let made = run(&["enrol", "--json", "--uses", "3", "--hours", "2", "--note", "lab"]).exits(0).json();
    assert!(made["token"].as_str().unwrap().starts_with("enrol_"), "{made}");
    assert_eq!(made["uses"], 3);
    run(&["enrol", "--uses", "0"]).exits(2).warns("--uses");
    run(&["enrol", "--hours", "721"]).exits(2).warns("--hours");
}

#[test]
fn capabilities_are_restricted_and_opened() {
    let xia = agent("xia");
    run(&["capability", "list"]).exits(0).says("Open");
    run(&["capability", "restrict", "vault"]).exits(0).says("vault").says("nobody");
    run(&["capability", "grant", "vault", "@xia"]).exits(0).says("vault").says(xia.account_id());
    run(&["capability", "list"]).exits(0).says("vault").says(xia.account_id());
    let listed = run(&["capability", "list", "--json"]).exits(0).json();
    assert_eq!(listed["restricted"][0]["granted"][0], xia.account_id());
    run(&["capability", "revoke", "vault", "@xia"]).exits(0).says("nobody");
    run(&["capability", "open", "vault"]).exits(0).says("Open");
    run(&["capability", "restrict", "a b"]).exits(2).warns("error: invalid_capability:");
}

#[test]
fn accounts_change_their_profile() {
    let _yan = agent("yan");
    run(&["profile", "set", "--account", "@yan", "--display-name", "Yan 天", "--bio", "doubts"])
        .exits(0)
        .says("@yan is Yan 天");
    let private = run(&[
        "profile",
        "set",
        "--account",
        "@yan",
        "--visibility",
        "private",
        "--metadata",
        "{\"team\": \"blue\"}",
    ]);
    private.exits(0).says("private");
    run(&["profile", "--username", "yan"])
        .exits(0)
        .says("Yan 天")
        .says("doubts")
        .says("private")
        .says("blue");
    run(&["profile", "set", "--account", "@yan", "--metadata", "[1]"]).exits(2).warns("error: invalid_json:");
    run(&["profile", "set", "--account", "@yan"]).exits(2).warns("--bio");
    run(&["profile", "set", "--bio", "whose?"]).exits(2).warns("hint:").warns("--account");
}
