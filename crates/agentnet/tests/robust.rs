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
