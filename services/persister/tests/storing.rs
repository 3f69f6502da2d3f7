//! Messages: stored, answered, refused.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::{ReceiptStatus, envelope::body_hash};
use support::{Net, message, receipt, with_payload};

#[tokio::test]
async fn stored_is_said_after_the_row_is_visible() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let body = net.send(&message("m1")).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    let (envelope, hash, thread, search): (Vec<u8>, Vec<u8>, String, String) = sqlx::query_as(
        "SELECT envelope, body_sha256, thread_id, search::text FROM agent_messages WHERE message_id = 'm1'",
    )
    .fetch_one(&net.pool)
    .await
    .unwrap();
    assert_eq!(envelope, body);
    assert_eq!(hash, body_hash(&body));
    assert_eq!((thread.as_str(), search.as_str()), ("t1", "'hello':1 'm1':2"));
    net.drained().await;
    persister.stop().await;
}

#[tokio::test]
async fn every_copy_is_answered_and_counted_once() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let body = net.send(&message("m1")).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    net.publish("agentnet.resend", body.clone()).await;
    net.publish("agentnet.resend", body).await;
    net.notices.wait_stored("alice", "m1", 3).await;
    assert_eq!(net.number("SELECT message_count FROM agent_threads").await, 1);
    assert_eq!(net.number("SELECT count(*) FROM agent_deliveries").await, 1);
    let counters = persister.counters();
    assert_eq!((counters.messages, counters.repeated, counters.conflicts), (1, 2, 0));
    persister.stop().await;
}

#[tokio::test]
async fn other_content_under_a_known_id_is_refused_and_changes_nothing() {
    let net = Net::start().await;
    net.stream().await;
    let first = net.send(&message("m1")).await;
    // Both before the persister comes, so that they meet in one batch, and once more afterwards.
    let mut other = with_payload("m1", r#"{"text":"something else"}"#);
    other.to_account_id = Some("mallory".to_owned());
    other.thread_id = Some("t2".to_owned());
    net.send(&other).await;
    let persister = net.persister().await;
    assert_eq!(net.notices.wait_failed("alice", "m1").await, "message_id_conflict");
    net.notices.wait_stored("alice", "m1", 1).await;
    net.send(&other).await;
    net.drained().await;
    let envelope: Vec<u8> =
        sqlx::query_scalar("SELECT envelope FROM agent_messages").fetch_one(&net.pool).await.unwrap();
    assert_eq!(envelope, first);
    assert_eq!(net.number("SELECT count(*) FROM agent_threads").await, 1);
    assert_eq!(net.delivery("m1", "mallory").await, None);
    persister.stop().await;
}

/// What arrives for the history only: its requester has gone, and its recipient has seen it.
#[tokio::test]
async fn a_late_copy_is_stored_and_delivered_to_nobody() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let late = message("late").encode().unwrap();
    net.publish_with("agentnet.resend", &[("Agentnet-Late", "1")], late.clone()).await;
    // Only a retransmission can be late.
    net.publish_with("account.bob.inbox", &[("Agentnet-Late", "1")], message("live").encode().unwrap()).await;
    net.notices.wait_stored("alice", "late", 1).await;
    net.notices.wait_stored("alice", "live", 1).await;
    // The time to live counts from when the network took the message, whatever its sender's clock says: these are from
    // last year by that.
    let mut rows: Vec<(String, bool, i64)> = sqlx::query_as(
        "SELECT d.message_id, d.next_attempt_at IS NULL, \
         extract(epoch FROM d.expires_at - d.created_at)::int8 FROM agent_deliveries d",
    )
    .fetch_all(&net.pool)
    .await
    .unwrap();
    rows.sort();
    assert_eq!(rows, [("late".to_owned(), true, 0), ("live".to_owned(), false, 30)]);
    // The recipient's word still counts.
    net.receipt("alice", &receipt("late", ReceiptStatus::Processed, None)).await;
    net.delivery_is("late", "bob", "processed", true).await;
    persister.stop().await;
}
