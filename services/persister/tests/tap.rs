//! Replies between original SDKs.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::Envelope;
use agentnet_proto::Security;
use support::{Net, message};

fn reply(id: &str) -> Envelope {
    Envelope {
        kind: "reply".to_owned(),
        from_agent: "bob".to_owned(),
        from_account_id: Some("bob".to_owned()),
        to_agent: "alice".to_owned(),
        to_account_id: Some("alice".to_owned()),
        parent_message_id: Some("m1".to_owned()),
        ..message(id)
    }
}

#[tokio::test]
async fn the_tap_stores_replies_and_nothing_else() {
    let net = Net::start().await;
    let (a, b) = (net.persister().await, net.persister().await);
    let refused = [
        Envelope { kind: "direct".to_owned(), ..reply("r1") },
        Envelope { parent_message_id: None, ..reply("r2") },
        Envelope { from_agent: String::new(), ..reply("r3") },
        Envelope { parent_message_id: Some("r4".to_owned()), ..reply("r4") },
        Envelope { schema_version: "7.0".to_owned(), ..reply("r5") },
        Envelope { thread_id: Some("x".repeat(600)), ..reply("r6") },
        Envelope { message_id: String::new(), ..reply("r7") },
    ];
    for envelope in &refused {
        net.publish("_INBOX.abc.1", envelope.encode().unwrap()).await;
    }
    for body in [r#"{"message_id":"r8","parent_message_id":"m1"}"#, "{}", "+OK", "", r#"{"agents":[]}"#] {
        net.publish("_INBOX.abc.1", body).await;
    }
    net.publish_with("_INBOX.abc.1", &[("Nats-Msg-Id", "1")], reply("r9").encode().unwrap()).await;
    net.publish("_INBOX.abc.2", reply("good").encode().unwrap()).await;
    net.publish("_INBOX.abc.3", Envelope { kind: "error".to_owned(), ..reply("bad") }.encode().unwrap())
        .await;
    net.has("SELECT count(*) FROM agent_messages", 2).await;
    // Stored once, though two replicas listen and the same reply comes through the stream too.
    net.publish("account.alice.replies.history", reply("good").encode().unwrap()).await;
    net.notices.wait_stored("bob", "good", 2).await;
    assert_eq!(net.number("SELECT count(*) FROM agent_messages").await, 2);
    assert_eq!(net.number("SELECT count(*) FROM agent_deliveries").await, 0);
    assert_eq!(net.number("SELECT count(*) FROM agent_quarantine").await, 0);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_tap_does_not_hear_what_the_stream_delivers() {
    let net = Net::start().await;
    let persister = net.persister().await;
    // A reply on a captured subject reaches the persister once, by the stream.
    net.publish("account.alice.replies.x", reply("r1").encode().unwrap()).await;
    net.notices.wait_stored("bob", "r1", 1).await;
    net.publish("account.alice.replies.x", reply("r2").encode().unwrap()).await;
    net.notices.wait_stored("bob", "r2", 1).await;
    assert_eq!(persister.counters().repeated, 0);
    persister.stop().await;
}

#[tokio::test]
async fn secure_mode_has_no_tap() {
    let net = Net::start().await;
    let mut config = net.config();
    config.security = Security::Secure;
    let persister = net.persister_with(config).await;
    net.publish("_INBOX.abc.2", reply("r1").encode().unwrap()).await;
    net.send(&message("m1")).await;
    net.has("SELECT count(*) FROM agent_quarantine WHERE code = 'auth_missing'", 1).await;
    // Not even looked at.
    assert_eq!(persister.counters().unproved, 1);
    assert_eq!(net.number("SELECT count(*) FROM agent_messages").await, 0);
    persister.stop().await;
}
