//! The recipient's side over a real nats-server, driven by literal envelopes of the original.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{AgentNodeBuilder, HandlerResult, Incoming};
use async_nats::Subscriber;
use serde_json::{Value, json};
use support::{Network, SECOND, SOON, next_json, next_status, original, round_trip, until};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};

const INBOX: &str = "account.acct_bob.inbox";
const RECEIPTS: &str = "account.acct_alice.receipts";

fn counting(builder: AgentNodeBuilder) -> (AgentNodeBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let builder = builder.on_message(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    (builder, calls)
}

async fn rejected(receipts: &mut Subscriber, id: &str) -> String {
    let receipt = next_json(receipts).await;
    assert_eq!((&receipt["message_id"], &receipt["status"]), (&json!(id), &json!("rejected")), "{receipt}");
    assert!(!receipt["detail"].as_str().unwrap().is_empty());
    receipt["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_original_sender_gets_accepted_then_processed() {
    let network = Network::start().await;
    let (node, calls) = counting(network.node("bob"));
    let node = node.start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m1", json!({"text": "hi"}))).await;
    for status in ["accepted", "processed"] {
        let receipt = next_json(&mut receipts).await;
        assert_eq!(receipt["status"], status);
        assert_eq!(receipt["message_id"], "m1");
        assert_eq!(
            (&receipt["from_account_id"], &receipt["to_account_id"]),
            (&json!("acct_bob"), &json!("acct_alice"))
        );
        assert_eq!((&receipt["trace_id"], &receipt["thread_id"]), (&json!("m1"), &json!("thread_m1")));
        assert_eq!(receipt["from_session_tag"], "registry_1");
        assert_eq!(receipt["body_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(receipt["schema_version"], "1.2");
        assert!(receipt.get("code").is_none() && receipt["event_at"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The persister confirmed both, so none is repeated.
    until(|| node.metrics_snapshot().receipts_unconfirmed == 0).await;
}

#[tokio::test]
async fn a_handler_that_ends_at_once_needs_no_accepted() {
    let network = Network::start().await;
    let gate = Arc::new(Notify::new());
    let handler_gate = Arc::clone(&gate);
    let _node = network
        .node("bob")
        .max_concurrency(1)
        .on_message(move |message: Incoming| {
            let gate = Arc::clone(&handler_gate);
            async move {
                match message.text().as_deref() {
                    Some("fail") => Err("broken".into()),
                    Some("wait") => {
                        gate.notified().await;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let send = async |subject: &'static str, id: &str, how: &str| {
        let mut message = original("acct_alice", "acct_bob", id, json!(how));
        message["schema_version"] = "1.2".into();
        network.publish(subject, &message).await;
    };
    let mut heard = async |expected: &[(&str, &str)]| {
        for (id, status) in expected {
            let receipt = next_json(&mut receipts).await;
            assert_eq!((&receipt["message_id"], &receipt["status"]), (&json!(id), &json!(status)));
        }
    };
    send(INBOX, "quick", "").await;
    heard(&[("quick", "processed")]).await;
    send(INBOX, "bad", "fail").await;
    heard(&[("bad", "accepted"), ("bad", "rejected")]).await;
    // The network counts attempts by it.
    send("account.acct_bob.redelivery", "again", "").await;
    heard(&[("again", "accepted"), ("again", "processed")]).await;
    send(INBOX, "slow", "wait").await;
    heard(&[("slow", "accepted")]).await;
    send(INBOX, "behind", "").await;
    heard(&[("behind", "accepted")]).await;
    gate.notify_one();
    heard(&[("slow", "processed"), ("behind", "processed")]).await;
}

#[tokio::test]
async fn bad_input_is_answered_with_its_code() {
    let network = Network::start().await;
    let (node, calls) = counting(network.node("bob").no_rate_limit().max_payload_bytes(2000));
    let node = node.start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let mut replies = network.listen("_INBOX.alice.*").await;
    let mut n = 0;
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 9] = [
        ("schema_version_invalid", |m| m["schema_version"] = "one".into()),
        ("unsupported_schema_version", |m| m["schema_version"] = "2.0".into()),
        ("missing_ttl", |m| m["ttl_ms"] = Value::Null),
        ("expired", |m| m["ttl_ms"] = 0.into()),
        ("expired", |m| m["expires_at"] = "2026-02-21T08:00:00Z".into()),
        ("payload_too_large", |m| m["payload"] = "x".repeat(3000).into()),
        ("invalid_envelope", |m| m["from_agent"] = json!([1])),
        ("invalid_field", |m| m["idempotency_key"] = "k".repeat(600).into()),
        ("invalid_field", |m| m["trace_id"] = "a\0b".into()),
    ];
    for (code, change) in cases {
        n += 1;
        let id = format!("m{n}");
        let mut message = original("acct_alice", "acct_bob", &id, json!({}));
        change(&mut message);
        network
            .raw
            .publish_with_reply(INBOX, format!("_INBOX.alice.{n}"), message.to_string().into())
            .await
            .unwrap();
        assert_eq!(rejected(&mut receipts, &id).await, code);
        let reply = next_json(&mut replies).await;
        assert_eq!((&reply["kind"], &reply["payload"]["error"]), (&json!("error"), &json!(code)), "{reply}");
        assert_eq!(
            (&reply["payload"]["request_message_id"], &reply["parent_message_id"]),
            (&json!(id), &json!(id))
        );
    }
    // Python's SDK writes numbers that JSON doesn't have.
    let mut message = original("acct_alice", "acct_bob", "nan", json!({"x": "here"})).to_string();
    message = message.replace("\"here\"", "[NaN,-Infinity]");
    network.raw.publish_with_reply(INBOX, "_INBOX.alice.nan", message.into()).await.unwrap();
    assert_eq!(rejected(&mut receipts, "nan").await, "invalid_envelope");
    assert_eq!(next_json(&mut replies).await["payload"]["error"], "invalid_envelope");
    // What says nothing about its sender is counted and dropped, and harms nothing.
    for garbage in ["", "{", "[]", "null", "\u{0}", r#"{"payload":1}"#, &"[".repeat(1900)] {
        network.raw.publish(INBOX, garbage.to_owned().into()).await.unwrap();
    }
    // An id that can't be stored is neither handled nor repeated to anybody.
    network.publish(INBOX, &original("acct_alice", "acct_bob", &"i".repeat(513), json!({}))).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "good", json!("\u{0}"))).await;
    assert_eq!(next_json(&mut receipts).await["message_id"], "good");
    next_status(&mut receipts, "processed").await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let metrics = node.metrics_snapshot();
    assert_eq!((metrics.payload_rejected_count, metrics.expired_count), (1, 4));
    assert!(metrics.dropped_count >= 9, "{}", metrics.dropped_count);
}

#[tokio::test]
async fn a_duplicate_is_handled_once() {
    let network = Network::start().await;
    let (node, calls) = counting(network.node("bob"));
    let node = node.start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let mut message = original("acct_alice", "acct_bob", "m1", json!({}));
    message["idempotency_key"] = "k".into();
    network.publish(INBOX, &message).await;
    next_status(&mut receipts, "processed").await;
    // Older senders get the original's answer.
    network.publish(INBOX, &message).await;
    assert_eq!(rejected(&mut receipts, "m1").await, "duplicate");
    // Newer ones, and the network when it delivers again, hear how it went.
    message["schema_version"] = "1.2".into();
    network.publish(INBOX, &message).await;
    assert_eq!(next_json(&mut receipts).await["status"], "processed");
    message["schema_version"] = "1.1".into();
    network.publish("account.acct_bob.redelivery", &message).await;
    assert_eq!(next_json(&mut receipts).await["status"], "processed");
    // Another message under the same key.
    message["message_id"] = "m2".into();
    network.publish(INBOX, &message).await;
    assert_eq!(rejected(&mut receipts, "m2").await, "duplicate");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(node.metrics_snapshot().duplicate_count, 4);
}

#[tokio::test]
async fn a_burst_over_the_rate_is_refused_except_for_the_networks_own() {
    let network = Network::start().await;
    let (node, _) = counting(network.node("bob"));
    let node = node.start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    for n in 0..15 {
        // Sessions of one account share its allowance.
        let mut message = original("acct_alice", "acct_bob", &format!("m{n}"), json!({}));
        message["from_session_tag"] = format!("s{n}").into();
        network.publish(INBOX, &message).await;
    }
    let mut codes = Vec::new();
    while codes.len() < 4 {
        codes.push(next_status(&mut receipts, "rejected").await["code"].clone());
    }
    assert!(codes.iter().all(|c| c == "rate_limited"), "{codes:?}");
    assert!(node.metrics_snapshot().rate_limited_count >= 4);
    for n in 20..30 {
        let message = original("acct_alice", "acct_bob", &format!("m{n}"), json!({}));
        network.publish("account.acct_bob.redelivery", &message).await;
        loop {
            let receipt = next_status(&mut receipts, "processed").await;
            if receipt["message_id"] == format!("m{n}") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_full_backlog_is_busy_and_takes_more_afterwards() {
    let network = Network::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let node = network
        .node("bob")
        .no_rate_limit()
        .max_concurrency(1)
        .max_pending(2)
        .on_message(move |_| {
            let gate = Arc::clone(&handler_gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m0", json!({}))).await;
    until(|| node.metrics_snapshot().inflight_count == 1).await;
    for n in 1..=3 {
        network.publish(INBOX, &original("acct_alice", "acct_bob", &format!("m{n}"), json!({}))).await;
    }
    let busy = next_status(&mut receipts, "rejected").await;
    assert_eq!(
        (&busy["message_id"], &busy["code"], &busy["detail"]),
        (&json!("m3"), &json!("busy"), &json!("agent backlog is full"))
    );
    gate.add_permits(10);
    for _ in 0..3 {
        next_status(&mut receipts, "processed").await;
    }
    // It wasn't handled, so it isn't a duplicate.
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m3", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "processed").await["message_id"], "m3");
}

#[tokio::test]
async fn handlers_that_fail_hang_or_panic_answer_and_may_be_tried_again() {
    let network = Network::start().await;
    let node = network
        .node("bob")
        .no_rate_limit()
        .work_timeout(Duration::from_millis(200))
        .circuit_breaker(100, SECOND)
        .on_message(|message: Incoming| async move { misbehave(&message).await })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let mut replies = network.listen("_INBOX.alice.*").await;
    for (n, (how, code)) in
        [("fail", "handler_error"), ("hang", "timeout"), ("panic", "handler_error")].into_iter().enumerate()
    {
        let id = format!("m{n}");
        let message = original("acct_alice", "acct_bob", &id, json!(how)).to_string();
        for _ in 0..2 {
            network
                .raw
                .publish_with_reply(INBOX, format!("_INBOX.alice.{n}"), message.clone().into())
                .await
                .unwrap();
            assert_eq!(next_json(&mut receipts).await["status"], "accepted");
            assert_eq!(rejected(&mut receipts, &id).await, code, "{how}");
            assert_eq!(next_json(&mut replies).await["payload"]["error"], code);
        }
    }
    network.publish(INBOX, &original("acct_alice", "acct_bob", "good", json!("behave"))).await;
    next_status(&mut receipts, "processed").await;
    let metrics = node.metrics_snapshot();
    assert_eq!((metrics.error_count, metrics.timeout_count, metrics.processed_count), (4, 2, 1));
    assert_eq!((metrics.inflight_count, metrics.pending_count), (0, 0));
}

async fn misbehave(message: &Incoming) -> HandlerResult {
    match message.text().as_deref() {
        Some("fail") => Err("no".into()),
        Some("hang") => std::future::pending().await,
        Some("panic") => panic!("as asked"),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn failures_in_a_row_open_the_circuit() {
    let network = Network::start().await;
    let node = network
        .node("bob")
        .no_rate_limit()
        .circuit_breaker(2, Duration::from_millis(500))
        .on_message(|message: Incoming| async move { misbehave(&message).await })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    for id in ["m1", "m2"] {
        network.publish(INBOX, &original("acct_alice", "acct_bob", id, json!("fail"))).await;
        next_status(&mut receipts, "rejected").await;
    }
    assert!(node.metrics_snapshot().circuit_open);
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m3", json!("behave"))).await;
    assert_eq!(rejected(&mut receipts, "m3").await, "service_degraded");
    until(|| !node.metrics_snapshot().circuit_open).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m3", json!("behave"))).await;
    next_status(&mut receipts, "processed").await;
}

#[tokio::test]
async fn time_to_live_is_judged_again_before_the_handler() {
    let network = Network::start().await;
    let gate = Arc::new(Notify::new());
    let handler_gate = Arc::clone(&gate);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let node = network
        .node("bob")
        .max_concurrency(1)
        .on_message(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&handler_gate);
            async move {
                gate.notified().await;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "slow", json!({}))).await;
    until(|| node.metrics_snapshot().inflight_count == 1).await;
    let mut short = original("acct_alice", "acct_bob", "short", json!({}));
    short["ttl_ms"] = 300.into();
    network.publish(INBOX, &short).await;
    loop {
        let accepted = next_status(&mut receipts, "accepted").await;
        if accepted["message_id"] == "short" {
            break;
        }
    }
    let sent = agentnet::proto::Timestamp::parse(short["sent_at"].as_str().unwrap()).unwrap();
    let over = sent.saturating_add(Duration::from_millis(300));
    until(|| agentnet::proto::Clock::now(&agentnet::proto::SystemClock) > over).await;
    gate.notify_one();
    let expired = next_status(&mut receipts, "rejected").await;
    assert_eq!((&expired["message_id"], &expired["code"]), (&json!("short"), &json!("expired")));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn capabilities_and_redeliveries_reach_the_handler() {
    let network = Network::start().await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler_seen = Arc::clone(&seen);
    let _node = network
        .node("bob")
        .capability("chat")
        .on_message(move |message: Incoming| {
            let seen = (message.message_id().to_owned(), message.attempt(), message.is_redelivery());
            handler_seen.lock().unwrap().push(seen);
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network
        .publish("agent.capability.chat", &original("acct_alice", "capability:chat", "m1", json!({})))
        .await;
    assert_eq!(next_status(&mut receipts, "processed").await["to_agent"], "capability:chat");
    // Its time was over by its own account; the network's counts.
    let mut again = original("acct_alice", "acct_bob", "m2", json!({}));
    again["sent_at"] = "2026-02-21T08:00:00Z".into();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Agentnet-Attempt", "3");
    let subject = "account.acct_bob.redelivery";
    network.raw.publish_with_headers(subject, headers, again.to_string().into()).await.unwrap();
    next_status(&mut receipts, "processed").await;
    assert_eq!(*seen.lock().unwrap(), [("m1".to_owned(), 1, false), ("m2".to_owned(), 3, true)]);
}

#[tokio::test]
async fn receipts_are_repeated_until_the_network_has_them() {
    let network = Network::start().await;
    network.set_storing(false);
    let (node, calls) = counting(network.node("bob"));
    let node = node.start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m1", json!({}))).await;
    next_status(&mut receipts, "processed").await;
    assert_eq!(next_json(&mut receipts).await["status"], "processed", "only the last word is repeated");
    network.set_storing(true);
    until(|| node.metrics_snapshot().receipts_unconfirmed == 0).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn goodbye_waits_until_the_network_has_the_receipts() {
    let network = Network::start().await;
    network.set_storing(false);
    let (node, _calls) = counting(network.node("bob"));
    let node = node.flush_timeout(SOON).start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &original("acct_alice", "acct_bob", "m1", json!({}))).await;
    next_status(&mut receipts, "processed").await;
    let closing = tokio::spawn({
        let node = node.clone();
        async move { node.close().await }
    });
    // The copy of the receipt comes two seconds later: the node would have gone by then.
    next_status(&mut receipts, "processed").await;
    assert_eq!((network.with(|seen| seen.goodbyes.len()), closing.is_finished()), (0, false));
    network.set_storing(true);
    timeout(SOON, closing).await.unwrap().unwrap().unwrap();
    until(|| network.with(|seen| seen.goodbyes.len()) == 1).await;
}

#[tokio::test]
async fn closing_drains_and_hands_back_what_it_cannot_handle() {
    let network = Network::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let node = network
        .node("bob")
        .no_rate_limit()
        .max_concurrency(1)
        .drain_timeout(SOON)
        .on_message(move |message: Incoming| {
            let gate = Arc::clone(&handler_gate);
            async move {
                gate.acquire().await?.forget();
                message.reply(json!({"done": message.message_id()})).await?;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let mut replies = network.listen("_INBOX.alice").await;
    for id in ["m1", "m2"] {
        let message = original("acct_alice", "acct_bob", id, json!({})).to_string();
        network.raw.publish_with_reply(INBOX, "_INBOX.alice", message.into()).await.unwrap();
    }
    until(|| node.metrics_snapshot().pending_count == 1).await;
    let closing = tokio::spawn({
        let node = node.clone();
        async move { node.close().await }
    });
    // The queue group moves on: nothing that comes now reaches this session.
    let monitor = network.raw.clone();
    until(|| !closing.is_finished()).await;
    round_trip(&monitor).await;
    gate.add_permits(2);
    timeout(SOON, closing).await.unwrap().unwrap().unwrap();
    for id in ["m1", "m2"] {
        assert_eq!(next_json(&mut replies).await["payload"]["done"], id);
        assert_eq!(next_status(&mut receipts, "processed").await["message_id"], id);
    }
    assert!(network.with(|s| s.goodbyes.iter().any(|g| g["session_tag"] == "registry_1")));
    let error = node.send("acct_alice", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), agentnet::ErrorKind::Closed);
}

#[tokio::test]
async fn closing_with_a_stuck_handler_ends_at_the_drain_timeout() {
    let network = Network::start().await;
    let node = network
        .node("bob")
        .max_concurrency(1)
        .drain_timeout(Duration::from_millis(200))
        .on_message(|_| std::future::pending())
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    for id in ["m1", "m2"] {
        network.publish(INBOX, &original("acct_alice", "acct_bob", id, json!({}))).await;
    }
    until(|| node.metrics_snapshot().pending_count == 1).await;
    // The receipt of the message at work stays unconfirmed on purpose: it is the network's to deliver again.
    timeout(SOON, node.close()).await.unwrap().unwrap();
    let back = next_status(&mut receipts, "rejected").await;
    assert_eq!((&back["message_id"], &back["code"]), (&json!("m2"), &json!("shutting_down")));
}
