//! Commands in signed mode as the original's users have them: `DEV_AUTH=true`, key files, and no username.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{io::Write as _, process::Stdio};

use agentnet::{AgentNode, IdentityStore, Incoming, proto::Security};
use serde_json::json;
use support::Place;

/// Runs a command that signs as the original does; its standard output.
fn run(place: &Place, args: &[&str], input: Option<&str>) -> String {
    let mut command = place.command(args);
    command.env("DEV_AUTH", "true").env("DEV_AUTH_KEY_DIR", place.file(".keys"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{out}\n{err}");
    out.into_owned()
}

#[test]
fn send_request_and_chat_sign_without_a_username() {
    let place = Place::new();
    let up = place.up(&["--signed"]);
    let url = up.ready()["nats_url"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = IdentityStore::new(place.file("echo")).create("echo_bot", None).unwrap();
    let echo = runtime.block_on(async {
        AgentNode::builder("echo_bot")
            .nats_url(url)
            .security(Security::Signed)
            .dev_auth(false)
            .identity(identity)
            .no_rate_limit()
            .on_message(|message: Incoming| async move {
                if message.wants_reply() {
                    let text = format!("echo: {}", message.text().unwrap_or_default());
                    message.reply(json!({"text": text})).await?;
                }
                Ok(())
            })
            .start()
            .await
            .unwrap()
    });
    let sent = run(&place, &["send", "--to-username", "echo_bot", "{\"text\":\"one\"}"], None);
    assert!(sent.contains("accepted") || sent.contains("processed"), "{sent}");
    let reply = run(&place, &["request", "--to-username", "echo_bot", "{\"text\":\"two\"}"], None);
    assert!(reply.contains("echo: two"), "{reply}");
    let talk = run(&place, &["chat", "--to-username", "echo_bot"], Some("three\n"));
    assert!(talk.contains("echo: three"), "{talk}");
    // Again, with the keys that are there now: the accounts are theirs.
    assert!(place.file(".keys").exists());
    run(&place, &["send", "--to-username", "echo_bot", "{\"text\":\"four\"}"], None);
    assert!(echo.metrics_snapshot().unproved.is_empty(), "{:?}", echo.metrics_snapshot().unproved);
    runtime.block_on(echo.close()).unwrap();
}
