//! `agentnet user` and `agentnet api-key`, on an open network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::fs;

use agentnet::{
    AgentNode,
    proto::{SecretText, rpc},
};
use support::{Ran, agents::shared};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

/// A file with a password on its first line.
fn password(name: &str, text: &str) -> String {
    let file = shared().place.file(name);
    fs::write(&file, format!("{text}\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Logs in as a gateway does; the code of the refusal.
fn log_in(username: &str, password: &str) -> Result<rpc::LoginResponse, String> {
    let request = rpc::UserLoginRequest {
        username: username.to_owned(),
        password: SecretText::new(password),
        ..Default::default()
    };
    let asked = async {
        let node = AgentNode::builder("gate").nats_url(&shared().url).start().await.unwrap();
        node.registry().user_login(&request).await
    };
    shared().runtime.block_on(asked).map_err(|error| error.code().to_owned())
}

#[test]
fn people_are_made_changed_and_locked_out() {
    let (first, second) = (password("pw1", "correct horse"), password("pw2", "battery staple"));
    let short = password("pw3", "short");
    let create = |name: &str, file: &str| run(&["user", "create", name, "--password-file", file]);
    let made = create("Paula", &first).exits(0).says("@paula").says("may log in");
    assert!(!made.stdout.contains("correct horse") && !made.stderr.contains("correct horse"));
    create("paula", &first).exits(2).warns("error: username_taken:");
    create("quentin", &short).exits(2).warns("error: password_unsuitable:");
    create("quentin", "/nowhere/pw").exits(2).warns("error: password_file:");
    run(&["user", "create", "quentin"]).exits(2).warns("error: password_required:");
    run(&["user", "list"]).exits(0).says("@paula").says("user").says("never");
    let login = log_in("paula", "correct horse").unwrap();
    let listed = run(&["user", "list", "--json"]).exits(0).json();
    let row = listed["users"].as_array().unwrap().iter().find(|row| row["username"] == "paula").unwrap();
    assert_eq!(row["account_id"], login.account_id);
    assert!(row["last_login_at"].is_string());
    run(&["user", "password", "@paula", "--password-file", &second]).exits(0).says("another password");
    assert_eq!(log_in("paula", "correct horse").unwrap_err(), "invalid_credentials");
    log_in("paula", "battery staple").unwrap();
    run(&["user", "disable", "paula"]).exits(0).says("is locked out");
    assert_eq!(log_in("paula", "battery staple").unwrap_err(), "suspended");
    run(&["user", "enable", "paula"]).exits(0).says("may log in again");
    log_in("paula", "battery staple").unwrap();
    run(&["user", "disable", "@no_such_account"]).exits(2).warns("error: not_found:");
}

#[test]
fn machines_get_keys() {
    let file = password("pw4", "correct horse");
    run(&["user", "create", "rita", "--password-file", &file]).exits(0);
    let made = run(&["api-key", "create", "build", "--account", "@rita", "--scope", "read", "--json"])
        .exits(0)
        .json();
    let (secret, id) = (made["api_key"].as_str().unwrap(), made["key"]["key_id"].as_str().unwrap());
    assert!(secret.starts_with("ank_"));
    run(&["api-key", "create", "other", "--account", "rita", "--expires", "2090-01-01T00:00:00Z"])
        .exits(0)
        .says("ank_")
        .says("isn't shown again");
    let listed =
        run(&["api-key", "list", "--account", "rita"]).exits(0).says("build").says("read").says("good");
    assert!(!listed.stdout.contains(secret));
    run(&["api-key", "revoke", id]).exits(0).says("is revoked");
    run(&["api-key", "list", "--account", "rita"]).exits(0).says("revoked");
    run(&["api-key", "revoke", "01k_none"]).exits(2).warns("error: not_found:");
    run(&["api-key", "list"]).exits(2).warns("error: account_id is required:");
}
