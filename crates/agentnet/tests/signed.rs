//! `dev-ed25519-v1` over a real nats-server: what is signed is handled, what isn't is neither handled nor answered, and
//! counted under the original's codes.

mod support;

use std::time::Duration;

use agentnet::{Stage, proto::dev_auth::AuthBlock};
use serde_json::{Value, json};
use support::{Network, next_json, next_status, original, until};

#[tokio::test]
async fn signed_messages_pass_and_others_are_refused() {
    let network = Network::start().await;
    let keys = tempfile::tempdir().unwrap();
    let bob = network.node("bob").dev_auth(true).key_dir(keys.path()).on_message(|_| async { Ok(()) });
    let bob = bob.start().await.unwrap();
    let alice = network.node("alice").dev_auth(true).key_dir(keys.path()).start().await.unwrap();
    // Registering is signed too, and binds the key.
    let register = network.with(|seen| seen.registers[1].clone());
    let block = AuthBlock::from(register["auth"].as_object().unwrap());
    assert!(block.verifies());
    assert_eq!((block.claims["agent_id"].as_str(), block.claims["username"].as_str()), ("alice", "alice"));

    let mut receipts = network.listen("account.acct_alice.receipts").await;
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    // The registry doesn't know the key yet.
    let unheard = alice.send("acct_bob", json!({"n": 1})).receipt_timeout(Duration::from_millis(300)).await;
    assert_eq!(unheard.unwrap().stage, Some(Stage::Stored));
    assert_eq!(bob.metrics_snapshot().unproved["auth_key_not_found"], 1);
    network.with(|seen| seen.keys.insert("acct_alice".into(), block.public_key.clone()));
    let sent = alice.send("acct_bob", json!({"n": 1})).until(Stage::Processed).await.unwrap();
    assert_eq!(sent.stage, Some(Stage::Processed));
    next_status(&mut receipts, "processed").await;
    next_json(&mut inbox).await;
    let genuine = next_json(&mut inbox).await;

    type Change = fn(&mut Value);
    let cases: [(&str, Change); 4] = [
        ("auth_missing", |m| m["auth"] = Value::Null),
        ("auth_scheme_invalid", |m| m["auth"]["scheme"] = "none".into()),
        ("auth_claims_mismatch", |m| m["payload"] = json!({"n": 2})),
        ("auth_public_key_mismatch", |m| m["auth"]["public_key"] = "A".repeat(43).into()),
    ];
    for (code, change) in cases {
        let mut forged = genuine.clone();
        change(&mut forged);
        network.publish("account.acct_bob.inbox", &forged).await;
        until(|| bob.metrics_snapshot().unproved.get(code) == Some(&1)).await;
    }
    let unsigned = original("acct_alice", "acct_bob", "m1", json!({}));
    network.publish("account.acct_bob.inbox", &unsigned).await;
    until(|| bob.metrics_snapshot().unproved.get("auth_missing") == Some(&2)).await;
    // None of them was answered: the next receipt is about the next genuine message.
    let sent = alice.send("acct_bob", json!({"n": 3})).await.unwrap();
    assert_eq!(next_json(&mut receipts).await["message_id"], sent.message_id);
}
