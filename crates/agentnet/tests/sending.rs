//! The sender's side over a real nats-server: stages, copies, refusals, the outbox.

mod support;

use std::time::Duration;

use agentnet::{ErrorKind, OutboxPolicy, Stage};
use serde_json::{Value, json};
use support::{Network, SECOND, SOON, next, next_json, until};
use tokio::time::{Instant, timeout};

fn receipt(message: &Value, status: &str, code: Option<&str>) -> Value {
    let mut receipt = json!({
        "message_id": message["message_id"], "status": status, "event_at": "2026-02-21T08:00:00Z",
        "from_account_id": message["to_account_id"], "to_account_id": message["from_account_id"],
        "trace_id": message["trace_id"], "thread_id": message["thread_id"],
    });
    if let Some(code) = code {
        receipt["code"] = code.into();
        receipt["detail"] = "because".into();
    }
    receipt
}

#[tokio::test]
async fn an_original_recipient_accepts_and_processes() {
    let network = Network::start().await;
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    let node = network.node("alice").start().await.unwrap();
    let (sent, ()) = tokio::join!(
        async { node.send("acct_bob", json!({"text": "hi"})).thread("ops").await.unwrap() },
        async {
            let message = next_json(&mut inbox).await;
            assert_eq!(message["from_agent"], "alice");
            assert_eq!(message["from_account_id"], "acct_alice");
            assert_eq!(
                (&message["to_agent"], &message["to_account_id"]),
                (&json!("acct_bob"), &json!("acct_bob"))
            );
            assert_eq!((&message["kind"], &message["schema_version"]), (&json!("direct"), &json!("1.2")));
            assert_eq!((&message["ttl_ms"], &message["thread_id"]), (&json!(30000), &json!("ops")));
            assert_eq!(message["trace_id"], message["message_id"]);
            assert_eq!(message["payload"], json!({"text": "hi"}));
            assert!(message.get("parent_message_id").is_none());
            network.publish("account.acct_alice.receipts", &receipt(&message, "accepted", None)).await;
        }
    );
    assert_eq!((sent.stage, sent.stored, sent.thread_id.as_str()), (Some(Stage::Accepted), true, "ops"));
    // One copy was enough, and nothing stays behind.
    assert_eq!(
        (network.copies(&sent.message_id, ".inbox"), network.copies(&sent.message_id, ".resend")),
        (1, 0)
    );
    let metrics = node.metrics_snapshot();
    assert_eq!((metrics.outbox_count, metrics.outbox_bytes, metrics.retry_count), (0, 0, 0));
    node.close().await.unwrap();
    until(|| network.with(|s| s.goodbyes.iter().any(|g| g["session_tag"] == "registry_1"))).await;
}

#[tokio::test]
async fn an_absent_recipient_means_stored_and_not_yet_accepted() {
    let network = Network::start().await;
    let node = network.node("alice").start().await.unwrap();
    let started = Instant::now();
    let sent = node.send("acct_bob", json!(1)).receipt_timeout(Duration::from_millis(300)).await.unwrap();
    assert_eq!((sent.stage, sent.stored, sent.refusal), (Some(Stage::Stored), true, None));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(node.metrics_snapshot().receipt_timeout_count, 1);
    // Not waiting for the recipient returns at the confirmation.
    let quick = timeout(SECOND, node.send("acct_bob", json!(1)).until(Stage::Stored)).await.unwrap().unwrap();
    assert_eq!(quick.stage, Some(Stage::Stored));
    let error = node
        .send("acct_bob", json!(1))
        .ttl(Duration::from_millis(100))
        .until(Stage::Accepted)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
}

#[tokio::test]
async fn copies_go_to_the_network_alone_until_it_confirms() {
    let network = Network::start().await;
    network.set_storing(false);
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    let node = network.node("alice").receipt_timeout(Duration::from_millis(200)).start().await.unwrap();
    let handle = node.send("acct_bob", json!({"n": 1})).queued().await.unwrap();
    let id = handle.message_id().to_owned();
    until(|| network.copies(&id, "agentnet.resend") >= 2).await;
    network.set_storing(true);
    // The confirmation of a later copy is as good as that of the first.
    let sent = timeout(SOON, handle.until(Stage::Stored)).await.unwrap().unwrap();
    assert_eq!(sent.stage, Some(Stage::Stored));
    let first = next(&mut inbox).await.payload;
    network.with(|seen| {
        let copies: Vec<_> = seen.captured.iter().filter(|(_, body, _)| body["message_id"] == *id).collect();
        assert!(copies.iter().all(|(_, _, bytes)| bytes[..] == first[..]), "every copy is the same bytes");
    });
    assert_eq!(network.copies(&id, ".inbox"), 1, "no agent sees a copy");
}

#[tokio::test]
async fn unconfirmed_is_an_error_and_the_message_goes_on() {
    let network = Network::start().await;
    network.set_storing(false);
    let node = network.node("alice").receipt_timeout(Duration::from_millis(200)).start().await.unwrap();
    let error = node.send("acct_bob", json!(1)).retry_attempts(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{error}");
    let id = error.message_id().unwrap().to_owned();
    assert_eq!(node.metrics_snapshot().outbox_count, 1, "it stays in the outbox");
    network.set_storing(true);
    until(|| node.metrics_snapshot().outbox_count == 0).await;
    assert!(network.copies(&id, "agentnet.resend") >= 2);
}

#[tokio::test]
async fn permanent_refusals_are_errors_at_once_and_transient_ones_are_not() {
    let network = Network::start().await;
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    let node = network.node("alice").start().await.unwrap();
    let answer = async |status: &str, code: Option<&str>, inbox: &mut async_nats::Subscriber| {
        let message = next_json(inbox).await;
        network.publish("account.acct_alice.receipts", &receipt(&message, status, code)).await;
    };
    for (code, kind) in [
        ("unsupported_schema_version", ErrorKind::Rejected),
        ("expired", ErrorKind::Expired),
        ("auth_missing", ErrorKind::Auth),
    ] {
        let started = Instant::now();
        let (sent, ()) = tokio::join!(
            // Waiting for the receipt timeout would be noticed.
            async { node.send("acct_bob", json!(1)).receipt_timeout(6 * SOON).ttl(6 * SOON).await },
            answer("rejected", Some(code), &mut inbox)
        );
        let error = sent.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.detail()), (kind, code, "because"));
        assert!(started.elapsed() < SOON);
    }
    for code in ["busy", "rate_limited", "service_degraded", "shutting_down"] {
        let send =
            async { node.send("acct_bob", json!(1)).receipt_timeout(Duration::from_millis(300)).await };
        let (sent, ()) = tokio::join!(send, answer("rejected", Some(code), &mut inbox));
        let sent = sent.unwrap();
        assert_eq!((sent.stage, sent.refusal.unwrap().code.as_str()), (Some(Stage::Stored), code));
    }
    // Refused, then accepted when the network tried again.
    let handle = node.send("acct_bob", json!(1)).queued().await.unwrap();
    let message = next_json(&mut inbox).await;
    for (status, code) in [("rejected", Some("busy")), ("accepted", None), ("processed", None)] {
        network.publish("account.acct_alice.receipts", &receipt(&message, status, code)).await;
    }
    let sent = timeout(SOON, handle.until(Stage::Processed)).await.unwrap().unwrap();
    assert_eq!((sent.stage, sent.refusal), (Some(Stage::Processed), None));
    // The answer of an older recipient to what it has handled already.
    let (sent, ()) = tokio::join!(
        async { node.send("acct_bob", json!(1)).await },
        answer("rejected", Some("duplicate"), &mut inbox)
    );
    assert!(sent.unwrap().is_accepted());
}

#[tokio::test]
async fn what_the_network_refuses_is_an_error() {
    let network = Network::start().await;
    let node = network.node("alice").start().await.unwrap();
    network.with(|seen| seen.refuse.insert("m1".into(), "message_id_conflict".into()));
    let error = node.send("acct_bob", json!(1)).message_id("m1").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, "message_id_conflict"));
    assert_eq!(node.metrics_snapshot().outbox_count, 0);
}

#[tokio::test]
async fn a_full_outbox_waits_or_fails_and_drops_nothing() {
    let network = Network::start().await;
    network.set_storing(false);
    let node = network.node("alice").outbox(2, 1 << 20).start().await.unwrap();
    let mut handles = Vec::new();
    for n in 0..2 {
        handles.push(node.send("acct_bob", json!(n)).queued().await.unwrap());
    }
    let third = node.send("acct_bob", json!(2)).queued();
    tokio::pin!(third);
    assert!(timeout(Duration::from_millis(100), &mut third).await.is_err(), "it waits");
    network.set_storing(true);
    handles.push(timeout(SOON, third).await.unwrap().unwrap());
    for handle in &handles {
        timeout(SOON, handle.until(Stage::Stored)).await.unwrap().unwrap();
    }

    network.set_storing(false);
    let node =
        network.node("carol").outbox(1, 1 << 20).outbox_policy(OutboxPolicy::Fail).start().await.unwrap();
    let _first = node.send("acct_bob", json!(1)).queued().await.unwrap();
    let error = node.send("acct_bob", json!(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutboxFull, "{error}");
    // By bytes too, and what can never fit isn't waited for.
    let small = network.node("dave").outbox(10, 2000).start().await.unwrap();
    let error = small.send("acct_bob", json!("x".repeat(3000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutboxFull, "{error}");
}

#[tokio::test]
async fn a_lost_connection_loses_no_message() {
    let network = Network::start().await;
    let node = network.node("alice").receipt_timeout(Duration::from_millis(300)).start().await.unwrap();
    // One that was under way, one sent into the outage.
    network.set_storing(false);
    let before = node.send("acct_bob", json!({"n": 1})).queued().await.unwrap();
    until(|| network.copies(before.message_id(), ".inbox") == 1).await;
    network.nats.kill();
    until(|| !node.connection().is_connected()).await;
    let during = node.send("acct_bob", json!({"n": 2})).queued().await.unwrap();
    network.set_storing(true);
    network.nats.restart().unwrap();
    for handle in [&before, &during] {
        let sent = timeout(SOON, handle.until(Stage::Stored)).await.unwrap().unwrap();
        assert!(sent.stored);
    }
    // Presence without help: a hello at once, and the registry is asked whether it knows us.
    until(|| network.with(|s| s.hellos.iter().filter(|h| h["agent_id"] == "alice").count() >= 2)).await;
    assert_eq!(node.metrics_snapshot().reconnect_count, 1);
}

#[tokio::test]
async fn a_session_the_registry_lost_is_opened_again() {
    let network = Network::start().await;
    let node = network.node("alice").start().await.unwrap();
    assert_eq!(node.session_tag(), "registry_1");
    network.nats.kill();
    until(|| !node.connection().is_connected()).await;
    network.with(|seen| seen.online.clear());
    network.nats.restart().unwrap();
    until(|| node.session_tag() == "registry_2").await;
    let register = network.with(|seen| seen.registers[1].clone());
    assert_eq!(register["account_id"], "acct_alice", "the same account");
    assert_eq!(node.account_id(), "acct_alice");
}

#[tokio::test]
async fn arguments_that_cannot_work_fail_before_anything_is_sent() {
    let network = Network::start().await;
    let node = network.node("alice").max_payload_bytes(1000).start().await.unwrap();
    let kind = async |send: agentnet::SendMessage<'_>| send.await.unwrap_err().kind();
    assert_eq!(kind(node.send("", json!(1))).await, ErrorKind::InvalidTarget);
    assert_eq!(kind(node.send("acct_a.b", json!(1))).await, ErrorKind::InvalidTarget);
    assert_eq!(kind(node.send_to_account("a > b", json!(1))).await, ErrorKind::InvalidTarget);
    assert_eq!(kind(node.send_to_capability("a.*", json!(1))).await, ErrorKind::InvalidCapability);
    assert_eq!(kind(node.send_to_username("nobody", json!(1))).await, ErrorKind::NotFound);
    assert_eq!(kind(node.send("acct_b", json!("x".repeat(1000)))).await, ErrorKind::PayloadTooLarge);
    assert_eq!(kind(node.send("acct_b", json!(1)).thread("")).await, ErrorKind::InvalidArgument);
    assert_eq!(kind(node.send("acct_b", json!(1)).thread("a\0b")).await, ErrorKind::InvalidArgument);
    assert_eq!(
        kind(node.send("acct_b", json!(1)).ttl(Duration::from_secs(31 * 86400))).await,
        ErrorKind::Rejected
    );
    assert_eq!(network.with(|s| s.captured.len()), 0);
    // The name is looked up once.
    network.with(|s| s.online.insert("acct_bob".into()));
    for name in ["@bob", "bob", "username:Bob"] {
        let sent = node.send(name, json!(1)).until(Stage::Stored).await.unwrap();
        assert_eq!(network.copies(&sent.message_id, "account.acct_bob.inbox"), 1);
    }
    let cache = node.metrics_snapshot().username_cache;
    assert_eq!((cache.size, cache.hits), (1, 2));
}

#[tokio::test]
async fn the_same_message_again_is_the_same_message() {
    let network = Network::start().await;
    network.set_storing(false);
    let node = network.node("alice").receipt_timeout(Duration::from_millis(200)).start().await.unwrap();
    let first = node.send("acct_bob", json!({"n": 1})).message_id("order-1").queued().await.unwrap();
    let again = node.send("acct_bob", json!({"n": 1})).message_id("order-1").queued().await.unwrap();
    let error = node.send("acct_bob", json!({"n": 2})).message_id("order-1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    network.set_storing(true);
    for handle in [first, again] {
        timeout(SOON, handle.until(Stage::Stored)).await.unwrap().unwrap();
    }
    assert_eq!(network.copies("order-1", ".inbox"), 1);
}
