//! Crashes, outages and company.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::time::Duration;

use agentnet_local::{PgOptions, PostgresServer, StopMode, testing::eventually};
use agentnet_persister::decode::{Raw, Rules, decode};
use agentnet_proto::{Envelope, ReceiptStatus, Timestamp};
use agentnet_store::ingest::{Item, ingest};
use async_nats::jetstream;
use futures_util::StreamExt;
use support::{LIMIT, Net, message, receipt};

#[tokio::test]
async fn replicas_share_the_work_and_store_everything_once() {
    let net = Net::start().await;
    let mut config = net.config();
    config.batch_max = 16;
    let (a, b) = (net.persister_with(config.clone()).await, net.persister_with(config).await);
    for number in 0..400 {
        let id = format!("m{number}");
        let body = net.send(&message(&id)).await;
        net.receipt("alice", &receipt(&id, ReceiptStatus::Processed, None)).await;
        net.receipt("alice", &receipt(&id, ReceiptStatus::Accepted, None)).await;
        if number % 4 == 0 {
            net.publish("agentnet.resend", body).await;
        }
    }
    net.has("SELECT count(*) FROM agent_deliveries WHERE state = 'processed' AND has_message", 400).await;
    net.drained().await;
    assert_eq!(net.number("SELECT message_count FROM agent_threads").await, 400);
    assert_eq!(net.number("SELECT pending_raw_messages FROM agent_threads").await, 400);
    let (a_did, b_did) = (a.counters(), b.counters());
    assert_eq!(a_did.messages + b_did.messages, 400);
    assert_eq!(a_did.repeated + b_did.repeated, 100);
    assert!(a_did.messages > 0 && b_did.messages > 0, "{a_did:?} {b_did:?}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_crash_between_commit_and_acknowledgement_counts_nothing_twice() {
    let net = Net::start().await;
    net.stream().await;
    for number in 0..20 {
        let id = format!("m{number}");
        net.send(&message(&id)).await;
        net.receipt("alice", &receipt(&id, ReceiptStatus::Accepted, None)).await;
    }
    net.publish("account.bob.inbox", "garbage").await;
    // What a persister does, up to the commit.
    let context = jetstream::new(net.client.clone());
    let consumer = agentnet_persister::stream::ensure(&context, &net.config().stream).await.unwrap();
    let mut pulled = consumer.fetch().max_messages(100).messages().await.unwrap();
    let rules = Rules { max_message_bytes: 256_000, chars_per_token: 4, is_signed: false };
    let mut items: Vec<Item> = Vec::new();
    while let Some(message) = pulled.next().await {
        let message = message.unwrap();
        let info = message.info().unwrap();
        let raw = Raw {
            subject: message.subject.to_string(),
            headers: message.headers.clone(),
            body: message.payload.clone(),
            received_at: Timestamp::from_offset(info.published),
            stream_seq: Some(info.stream_sequence),
            delivered: info.delivered,
        };
        items.push(decode(&raw, &rules).item);
    }
    assert_eq!(items.len(), 41);
    ingest(&mut net.pool.acquire().await.unwrap(), &items).await.unwrap();
    let before = net.number(SUM).await;
    assert!(net.notices.of("alice").is_empty());
    // Its successor gets everything again.
    let persister = net.persister().await;
    for number in 0..20 {
        net.notices.wait_stored("alice", &format!("m{number}"), 1).await;
    }
    net.drained().await;
    assert_eq!(net.number(SUM).await, before);
    assert_eq!(persister.counters().repeated, 20);
    persister.stop().await;
}

/// Everything that could be counted twice.
const SUM: &str = "SELECT (SELECT message_count * 1000000 + byte_count + approx_tokens + pending_raw_messages
                           FROM agent_threads)
                        + (SELECT count(*) * 1000 FROM agent_deliveries) + (SELECT count(*) FROM agent_quarantine)";

#[tokio::test]
async fn nothing_is_acknowledged_while_postgres_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let dir_of_server = dir.path().join("pg");
    open_for_others(dir.path());
    let server = tokio::task::spawn_blocking(move || {
        PostgresServer::start(PgOptions {
            shared_buffers: "16MB".to_owned(),
            ..PgOptions::new(dir_of_server, "pw".into())
        })
    });
    let server = std::sync::Arc::new(server.await.unwrap().unwrap());
    server.create_database("agentnet").await.unwrap();
    let net = Net::with_database(server.url("agentnet"), None).await;
    let persister = net.persister().await;
    net.send(&message("before")).await;
    net.notices.wait_stored("alice", "before", 1).await;
    stop(&server).await;
    for number in 0..50 {
        net.send(&message(&format!("m{number}"))).await;
    }
    // It has tried, and longer than the stream waits without a sign of life.
    eventually(LIMIT, || async { (persister.counters().failures >= 5).then_some(()) }).await;
    assert_eq!(net.in_stream().await, 50);
    assert_eq!(net.notices.of("alice").len(), 1);
    let restarted = server.clone();
    tokio::task::spawn_blocking(move || restarted.restart()).await.unwrap().unwrap();
    for number in 0..50 {
        net.notices.wait_stored("alice", &format!("m{number}"), 1).await;
    }
    net.drained().await;
    net.has("SELECT message_count FROM agent_threads", 51).await;
    persister.stop().await;
    stop(&server).await;
}

async fn stop(server: &std::sync::Arc<PostgresServer>) {
    let server = server.clone();
    tokio::task::spawn_blocking(move || server.stop(StopMode::Immediate)).await.unwrap();
}

/// Postgres doesn't run as root; another user must be able to reach its directory.
fn open_for_others(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).unwrap();
}

#[tokio::test]
async fn a_stop_during_an_outage_ends_and_leaves_everything_in_the_stream() {
    let net = Net::start().await;
    let mut config = net.config();
    let persister = net.persister_with(config.clone()).await;
    // A lock that no commit gets past.
    let mut lock = net.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE agent_messages IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    net.send(&message("m1")).await;
    eventually(LIMIT, || async { (net.in_stream().await == 1).then_some(()) }).await;
    persister.kill().await;
    lock.rollback().await.unwrap();
    assert_eq!(net.notices.stored("alice", "m1"), 0);
    config.batch_max = 1;
    let successor = net.persister_with(config).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    net.drained().await;
    successor.stop().await;
}

#[tokio::test]
async fn nats_may_restart() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.send(&message("m1")).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    net.nats.kill();
    net.nats.restart().unwrap();
    // The test's own connection needs a moment too, and what it sends meanwhile may be lost: it repeats, as senders do.
    eventually(Duration::from_secs(60), || async {
        net.send(&message("m2")).await;
        (net.notices.stored("alice", "m2") > 0).then_some(())
    })
    .await;
    net.drained().await;
    assert_eq!(net.number("SELECT message_count FROM agent_threads").await, 2);
    persister.stop().await;
}

#[tokio::test]
async fn a_lost_stream_is_made_anew() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let context = jetstream::new(net.client.clone());
    context.delete_stream("AGENTNET").await.unwrap();
    eventually(LIMIT, || async { context.get_stream("AGENTNET").await.ok() }).await;
    net.send(&message("m1")).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    persister.stop().await;
}

#[tokio::test]
async fn an_existing_stream_is_brought_up_to_date_or_refused() {
    let net = Net::start().await;
    let context = jetstream::new(net.client.clone());
    let mut config = agentnet_persister::stream::stream_config(&net.config().stream);
    config.subjects.truncate(2);
    config.max_bytes = 1 << 20;
    config.no_ack = false;
    context.create_stream(config.clone()).await.unwrap();
    net.persister().await.stop().await;
    let found = context.get_stream("AGENTNET").await.unwrap().cached_info().config.clone();
    assert_eq!((found.subjects.len(), found.max_bytes, found.no_ack), (5, 64 << 20, true));
    context.delete_stream("AGENTNET").await.unwrap();
    config.retention = jetstream::stream::RetentionPolicy::Limits;
    context.create_stream(config).await.unwrap();
    let error = agentnet_persister::stream::ensure(&context, &net.config().stream).await.unwrap_err();
    assert!(error.to_string().contains("retention"), "{error}");
}

#[tokio::test]
async fn large_messages_pass_in_number() {
    let net = Net::start().await;
    net.stream().await;
    let text = "x".repeat(200_000);
    for number in 0..150 {
        let envelope = Envelope { ..support::with_payload(&format!("m{number}"), &format!("\"{text}\"")) };
        net.send(&envelope).await;
    }
    let persister = net.persister().await;
    net.has("SELECT count(*) FROM agent_messages", 150).await;
    net.drained().await;
    persister.stop().await;
}
