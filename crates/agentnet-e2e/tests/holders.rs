//! What one holder of a capability refuses for itself alone gets to another, between real agents.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{AgentNode, ErrorKind, Incoming, On, Stage};
use agentnet_proto::envelope::kind;
use serde_json::json;
use support::{SOON, Stack};

/// An agent that can sing, counts what it is asked, and answers with its name.
async fn singer(stack: &Stack, name: &'static str, asked: &Arc<AtomicUsize>) -> AgentNode {
    let asked = Arc::clone(asked);
    let singing = stack.node(name).capability("sing").no_rate_limit().on_message(move |message: Incoming| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            if message.envelope().reply_to.is_some() {
                message.reply(json!({"text": name})).await?;
            }
            Ok(())
        }
    });
    singing.start().await.unwrap()
}

async fn a_blocking_holder_is_passed_over(stack: &Stack) {
    let (by_bob, by_carol) = (Arc::default(), Arc::default());
    let bob = singer(stack, "bob", &by_bob).await;
    let carol = singer(stack, "carol", &by_carol).await;
    let alice = stack.node("alice").start().await.unwrap();
    bob.block(alice.account_id()).await.unwrap();
    // NATS gives half of them to each of the two.
    let mut sent = Vec::new();
    for n in 0..12 {
        sent.push(alice.send("capability:sing", json!({"n": n})).ttl(SOON).queued().await.unwrap());
    }
    for handle in &sent {
        let delivery = handle.until(Stage::Processed).await.unwrap();
        assert_eq!((delivery.stage, delivery.refusal), (Some(Stage::Processed), None));
    }
    assert_eq!((by_bob.load(Ordering::Relaxed), by_carol.load(Ordering::Relaxed)), (0, 12));
    let mut asks = Vec::new();
    for n in 0..6 {
        let alice = alice.clone();
        asks.push(tokio::spawn(async move {
            alice.request("capability:sing", json!({"n": n})).timeout(SOON).await
        }));
    }
    for ask in asks {
        assert_eq!(ask.await.unwrap().unwrap().text().as_deref(), Some("carol"));
    }
    assert_eq!(by_bob.load(Ordering::Relaxed), 0);
    // Where nobody else is there, it waits; who asks hears why nobody answered.
    carol.close().await.unwrap();
    let sent = alice.send("capability:sing", json!({"n": "last"})).await.unwrap();
    assert_eq!((sent.stage, sent.refusal.unwrap().code.as_str()), (Some(Stage::Stored), "blocked"));
    let ask = alice.request("capability:sing", json!({})).timeout(Duration::from_secs(2)).await;
    let error = ask.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, "blocked"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_blocks_the_sender_is_passed_over() {
    a_blocking_holder_is_passed_over(&Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_in_secure_mode() {
    a_blocking_holder_is_passed_over(&Stack::secure(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_in_signed_mode() {
    a_blocking_holder_is_passed_over(&Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_without_a_handler_for_it_leaves_it_to_another() {
    let stack = Stack::start().await;
    let only_requests =
        stack.node("bob").capability("sing").on(On::kind(kind::REQUEST), |message: Incoming| async move {
            message.reply(json!({"text": "bob"})).await?;
            Ok(())
        });
    let bob = only_requests.start().await.unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    let sent = alice.send("capability:sing", json!({"n": 1})).ttl(SOON).await.unwrap();
    assert_eq!((sent.stage, sent.refusal.unwrap().code.as_str()), (Some(Stage::Stored), "no_handler"));
    let waiting = alice.send("capability:sing", json!({"n": 2})).ttl(SOON).queued().await.unwrap();
    // Bob still gets what he can do.
    assert_eq!(
        alice.request("capability:sing", json!({})).timeout(SOON).await.unwrap().text().as_deref(),
        Some("bob")
    );
    let by_carol = Arc::default();
    let carol = singer(&stack, "carol", &by_carol).await;
    waiting.until(Stage::Processed).await.unwrap();
    support::until(|| by_carol.load(Ordering::Relaxed) == 2).await;
    for node in [alice, bob, carol] {
        node.close().await.unwrap();
    }
}
