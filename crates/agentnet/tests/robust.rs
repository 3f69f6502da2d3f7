//! Options at their limits, and what a node does when a part of it fails.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentnet::{
    AgentWrapper, ErrorKind,
    proto::{Clock, SystemClock, Timestamp},
};
use serde_json::json;
use support::{Network, SOON, next_json, next_status, original, until};
use tokio::time::timeout;

#[tokio::test]
async fn durations_without_end_are_taken() {
    let network = Network::start().await;
    let for_ever = Duration::MAX;
    let node = network
        .node("bob")
        .dedupe_ttl(for_ever)
        .circuit_breaker(1, for_ever)
        .drain_timeout(for_ever)
        .flush_timeout(for_ever)
        .work_timeout(for_ever)
        .receipt_timeout(for_ever)
        .request_timeout(for_ever)
        .heartbeat(for_ever)
        .resolve_cache_ttl(for_ever)
        .on_message(|msg| async move {
            if msg.wants_reply() {
                msg.reply(json!("here")).await?;
            }
            if msg.text().is_some_and(|text| text == "fail") { Err("as asked".into()) } else { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen("account.acct_alice.receipts").await;
    network.publish("account.acct_bob.inbox", &original("acct_alice", "acct_bob", "m1", json!({}))).await;
    next_status(&mut receipts, "processed").await;
    let sent = timeout(SOON, node.send("acct_bob", json!({"text": "to myself"}))).await.unwrap().unwrap();
    assert!(sent.stored);
    let reply = timeout(SOON, node.request("@bob", json!({}))).await.unwrap().unwrap();
    assert_eq!(reply.payload().get(), "\"here\"");
    // The circuit opens, and stays open.
    let failing = original("acct_alice", "acct_bob", "m2", json!("fail"));
    network.publish("account.acct_bob.inbox", &failing).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "handler_error");
    network.publish("account.acct_bob.inbox", &original("acct_alice", "acct_bob", "m3", json!({}))).await;
    assert_eq!(next_json(&mut receipts).await["code"], "service_degraded");
    assert!(!node.is_closed());
    timeout(SOON, node.close()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_rate_of_nothing_is_refused() {
    let network = Network::start().await;
    for (per_second, burst) in [(0.0, 10), (-1.0, 10), (f64::NAN, 10), (f64::INFINITY, 10), (5.0, 0)] {
        let error = network.node("bob").rate_limit(per_second, burst).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{per_second} {burst}");
    }
}

/// Panics once, when told.
#[derive(Debug, Default)]
struct Breaking(AtomicBool);

impl Clock for Breaking {
    fn now(&self) -> Timestamp {
        assert!(!self.0.swap(false, Ordering::SeqCst), "the clock is broken");
        SystemClock.now()
    }
}

#[tokio::test]
async fn a_node_whose_intake_breaks_says_goodbye_and_ends() {
    let network = Network::start().await;
    let clock = Arc::new(Breaking::default());
    let node = network
        .node("bob")
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .on_message(|_| async { Ok(()) })
        .start()
        .await
        .unwrap();
    let serving = node.clone();
    let serving = tokio::spawn(async move { serving.serve_forever().await });
    clock.0.store(true, Ordering::SeqCst);
    network.publish("account.acct_bob.inbox", &original("acct_alice", "acct_bob", "m1", json!({}))).await;
    let error = timeout(SOON, serving).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.detail().contains("intake"), "{error}");
    assert!(node.is_closed() && !node.is_accepting());
    until(|| network.with(|seen| seen.goodbyes.len() == 1)).await;
    assert_eq!(node.send("acct_alice", json!({})).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn closing_a_wrapper_while_it_connects_closes_it() {
    let network = Network::start().await;
    let wrapper = AgentWrapper::of(network.node("bob"));
    // The first is polled first, and waits for the network.
    let (connected, closed) = tokio::join!(wrapper.connect(), wrapper.close());
    closed.unwrap();
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(wrapper.node().unwrap_err().kind(), ErrorKind::Closed);
    until(|| network.with(|seen| seen.goodbyes.len() == 1)).await;
}

#[tokio::test]
async fn hellos_come_as_often_as_the_registry_says() {
    let network = Network::start().await;
    // The registry's word counts; without one, the builder's.
    for (agent, said, own) in [("a", 1.0, Duration::from_secs(3600)), ("b", 0.0, Duration::from_secs(1))] {
        network.with(|seen| seen.heartbeat = Some(said));
        let node = network.node(agent).heartbeat(own).start().await.unwrap();
        let tag = node.session_tag();
        let hellos =
            || network.with(|seen| seen.hellos.iter().filter(|h| h["session_tag"] == tag.as_str()).count());
        until(|| hellos() >= 3).await;
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_nats_reply_subject_wins_over_the_body() {
    let network = Network::start().await;
    let node = network.node("bob").on_message(|msg| async move {
        msg.reply(json!("here")).await?;
        Ok(())
    });
    let node = node.start().await.unwrap();
    let mut nats = network.listen("_INBOX.alice.>").await;
    let mut body = network.listen("account.acct_alice.replies.token").await;
    let mut message = original("acct_alice", "acct_bob", "m1", json!({}));
    message["reply_to"] = "account.acct_alice.replies.token".into();
    let publish = network.raw.publish_with_reply(
        "account.acct_bob.inbox",
        "_INBOX.alice.1",
        message.to_string().into(),
    );
    publish.await.unwrap();
    assert_eq!(next_json(&mut nats).await["parent_message_id"], "m1");
    // Without one, the body's.
    message["message_id"] = "m2".into();
    network.publish("account.acct_bob.inbox", &message).await;
    assert_eq!(next_json(&mut body).await["parent_message_id"], "m2");
    node.close().await.unwrap();
}

#[tokio::test]
async fn lone_surrogates_reach_the_handler_and_come_back_as_they_were() {
    let network = Network::start().await;
    let node = network.node("bob").on_message(|msg| async move {
        msg.reply(msg.payload().clone()).await?;
        Ok(())
    });
    let _node = node.start().await.unwrap();
    let mut replies = network.listen("_INBOX.alice.>").await;
    let message = original("acct_alice", "acct_bob", "m1", json!("here")).to_string();
    let message = message.replace("\"here\"", r#"{"text":"a\ud800b","\udfff":[1.0,1e400]}"#);
    network.raw.publish_with_reply("account.acct_bob.inbox", "_INBOX.alice.1", message.into()).await.unwrap();
    let reply = support::next(&mut replies).await;
    let text = std::str::from_utf8(&reply.payload).unwrap();
    assert!(text.contains(r#""payload":{"text":"a\ud800b","\udfff":[1.0,1e400]}"#), "{text}");
    assert!(text.contains(r#""kind":"reply""#), "{text}");
}

#[tokio::test]
async fn the_snapshot_has_the_originals_keys() {
    let network = Network::start().await;
    let node = network.node("bob").start().await.unwrap();
    let snapshot = serde_json::to_value(node.metrics_snapshot()).unwrap();
    for key in [
        "account_id",
        "username",
        "agent_id",
        "session_tag",
        "inflight_count",
        "pending_count",
        "processed_count",
        "dropped_count",
        "timeout_count",
        "error_count",
        "rate_limited_count",
        "expired_count",
        "payload_rejected_count",
        "duplicate_count",
        "busy_count",
        "retry_count",
        "receipt_timeout_count",
        "avg_handle_ms",
        "circuit_open",
    ] {
        assert!(snapshot.get(key).is_some_and(|value| !value.is_null()), "{key}: {snapshot}");
    }
    for name in ["send_account", "request_account", "resolve_username"] {
        assert!(snapshot["latency_ms"][name]["p95"].is_f64(), "{name}: {snapshot}");
    }
    let cache = &snapshot["username_cache"];
    assert_eq!((&cache["ttl_seconds"], &cache["size"]), (&json!(60.0), &json!(0)));
    assert!(cache["hits"].is_u64() && cache["misses"].is_u64());
    node.close().await.unwrap();
}
