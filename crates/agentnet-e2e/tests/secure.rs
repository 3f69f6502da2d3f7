//! Secure mode over the whole stack: agents with keys of their own, on a nats-server that asks the registry.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agentnet::{
    AgentNode, ErrorKind, Incoming, Stage,
    connect::{KeyDoor, NatsSettings},
    proto::{AccountId, rpc::ListRequest},
};
use futures_util::StreamExt as _;
use serde_json::json;
use support::{SECOND, SOON, Stack, until};
use tokio::time::timeout;

async fn echo(stack: &Stack, agent_id: &str) -> AgentNode {
    stack
        .node(agent_id)
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(message.payload().value()).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap()
}

/// Talks with bob for as long as new keys aren't remembered yet (5 s), so that neither has to ask for the other's any more.
async fn acquaint(alice: &AgentNode) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(6) {
        alice.request("@bob", json!("hello")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_talk_ask_and_find_each_other() {
    let stack = Stack::secure(&[]).await;
    let bob = stack
        .node("bob")
        .capability("echo")
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(json!({"heard": message.payload().value()})).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    assert!(AccountId::new(alice.account_id()).unwrap().is_canonical());
    let sent = alice.send("@bob", json!({"text": "hello"})).until(Stage::Processed).await.unwrap();
    assert_eq!(sent.stage, Some(Stage::Processed));
    let reply = alice.request("@bob", json!("?")).await.unwrap();
    assert_eq!(reply.payload().value(), json!({"heard": "?"}));
    let reply = alice.request_capability("echo", json!("anyone")).await.unwrap();
    assert_eq!(reply.payload().value(), json!({"heard": "anyone"}));
    let online = alice.registry().list(&ListRequest::default()).await.unwrap().agents;
    assert_eq!(online.len(), 2);
    // An operator watches.
    let operator = stack.node("operator").start().await.unwrap();
    let mut inboxes = operator.connection().client().subscribe("account.*.inbox").await.unwrap();
    operator.connection().round_trip(SOON).await.unwrap();
    alice.send("@bob", json!("watched")).await.unwrap();
    let seen = timeout(SOON, inboxes.next()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&seen.payload).contains("watched"));
    // What is sent to somebody who is away waits for them.
    bob.close().await.unwrap();
    let sent = alice.send("@bob", json!("later")).await.unwrap();
    assert_eq!(sent.stage, Some(Stage::Stored));
    let (heard, mut late) = tokio::sync::mpsc::channel(4);
    let bob = stack
        .node("bob")
        .on_message(move |message: Incoming| {
            let heard = heard.clone();
            async move {
                let _ = heard.send(message.payload().value()).await;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    assert_eq!(timeout(SOON, late.recv()).await.unwrap().unwrap(), json!("later"));
    for node in [alice, bob, operator] {
        node.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_registries_either_may_stop_and_without_one_who_is_inside_goes_on() {
    let stack = Stack::secure(&[]).await;
    let second = stack.another_registry().await;
    let bob = echo(&stack, "bob").await;
    let alice = stack.node("alice").start().await.unwrap();
    stack.stop_registry().await;
    let carol = stack.node("carol").start().await.unwrap();
    acquaint(&alice).await;
    second.await;
    // Names are remembered, mail flows.
    alice.request("@bob", json!(2)).await.unwrap();
    alice.send("@bob", json!("still stored")).until(Stage::Processed).await.unwrap();
    let started = Instant::now();
    let error = stack.node("dave").start().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::RegistryUnavailable, "registry_unavailable"),
        "{error}"
    );
    assert!(error.detail().contains("no registry"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    stack.start_registry().await;
    stack.node("dave").start().await.unwrap();
    drop((alice, bob, carol));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_nobody_new_gets_in_and_who_is_inside_goes_on() {
    let stack = Stack::secure_with_own_postgres().await;
    let bob = echo(&stack, "bob").await;
    let alice = stack.node("alice").start().await.unwrap();
    acquaint(&alice).await;
    stack.crash_postgres();
    let error = stack.node("carol").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RegistryUnavailable, "{error}");
    // Not stored, but heard and answered.
    alice.request("@bob", json!(2)).await.unwrap();
    stack.restart_postgres();
    stack.node("carol").start().await.unwrap();
    drop(bob);
}

/// A connection lasts three seconds here, and mail flows all the time: nothing is lost, nothing comes twice, and the
/// connections are others in the end. What an older connection was handed in its very last moment is delivered again, after
/// the three seconds that receipts may take: hence the longer patience of requests.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_renewed_under_load_without_loss() {
    let stack = Stack::secure(&[("AGENTNET_CONNECTION_SECONDS", "3")]).await;
    let seen: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
    let counts = Arc::clone(&seen);
    let bob = stack
        .node("bob")
        .no_rate_limit()
        .max_pending(10_000)
        .on_message(move |message: Incoming| {
            let counts = Arc::clone(&counts);
            async move {
                let number = message.payload().value().as_u64().unwrap();
                *counts.lock().unwrap().entry(number).or_default() += 1;
                if message.wants_reply() {
                    message.reply(number).await?;
                }
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    let connection = |node: &AgentNode| node.connection().client().server_info().client_id;
    let before = [connection(&alice), connection(&bob)];
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(12) {
        let batch: Vec<_> = (0..20)
            .map(|i| {
                let (alice, number) = (alice.clone(), sent + i);
                tokio::spawn(async move {
                    if number % 2 == 0 {
                        alice.send("@bob", number).until(Stage::Processed).await.map(drop)
                    } else {
                        alice.request("@bob", number).timeout(SOON).await.map(drop)
                    }
                })
            })
            .collect();
        sent += 20;
        for one in batch {
            one.await.unwrap().unwrap();
        }
    }
    assert!(connection(&alice) != before[0] && connection(&bob) != before[1], "nothing was renewed");
    assert_eq!(
        (alice.connection().state().borrow().reconnects, bob.connection().state().borrow().reconnects),
        (0, 0)
    );
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len() as u64, sent, "lost");
    assert!(seen.values().all(|times| *times == 1), "doubled");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_come_back_after_a_restart_of_the_server() {
    let stack = Stack::secure(&[]).await;
    let bob = echo(&stack, "bob").await;
    let alice = stack.node("alice").start().await.unwrap();
    alice.request("@bob", json!(1)).await.unwrap();
    stack.nats.restart().unwrap();
    // Everybody comes with a fresh nonce, the registry first; until then nobody is let in.
    until(|| alice.connection().is_connected() && bob.connection().is_connected()).await;
    let answered = async {
        loop {
            match alice.request("@bob", json!(2)).timeout(SECOND).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "not yet"),
            }
        }
    };
    timeout(SOON, answered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_account_and_an_identity_comes_back_as_itself() {
    let stack = Stack::secure(&[]).await;
    let first = stack.node("alice").start().await.unwrap();
    let account = first.account_id().to_owned();
    first.close().await.unwrap();
    let again = stack.node("alice").capability("new").on_message(|_| async { Ok(()) }).start().await.unwrap();
    assert_eq!((again.account_id(), again.username().as_str()), (account.as_str(), "alice"));
    // The capability that it just registered is heard.
    let bob = stack.node("bob").start().await.unwrap();
    bob.send_to_capability("new", json!(1)).until(Stage::Processed).await.unwrap();
    // What the key's own door tells.
    let settings = NatsSettings::from_url(&stack.nats.url()).unwrap();
    let door = KeyDoor::open(&settings, stack.identity("alice").key()).await.unwrap();
    let told = door.registry().network().await.unwrap();
    assert_eq!(told.account.unwrap().account_id, account);
    // Somebody else's account can't be entered: the server lets nobody listen there.
    let other = AccountId::new(bob.account_id()).unwrap();
    let error = door.enter(&other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NatsUnavailable, "{error}");
}

/// The figure of `docs/PERFORMANCE.md`: `cargo test --release -p agentnet-e2e --test secure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_thousand_agents_connect() {
    const AGENTS: u32 = 1_000;
    let stack = Stack::secure(&[]).await;
    let started = Instant::now();
    let registered = futures_util::stream::iter(0..AGENTS)
        .map(|i| stack.node(&format!("agent{i}")).heartbeat(Duration::from_secs(60)).start())
        .buffer_unordered(256)
        .collect::<Vec<_>>()
        .await;
    let nodes: Vec<AgentNode> = registered.into_iter().map(Result::unwrap).collect();
    println!("{AGENTS} new agents registered and online in {:.2?}", started.elapsed());
    drop(nodes);
    let settings = NatsSettings::from_url(&stack.nats.url()).unwrap();
    let keys: Vec<_> = (0..AGENTS).map(|i| stack.identity(&format!("agent{i}"))).collect();
    let started = Instant::now();
    let opened =
        futures_util::future::join_all(keys.iter().map(|one| KeyDoor::open(&settings, one.key()))).await;
    let took = started.elapsed();
    assert!(opened.iter().all(Result::is_ok));
    println!("{AGENTS} known agents connected at once in {took:.2?}");
    if !cfg!(debug_assertions) {
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_without_a_token_is_told_where_to_get_one() {
    let settings = [("AGENTNET_ENROLMENT", "token"), ("AGENTNET_ENROLMENT_TOKEN", "the-network-s-own-token")];
    let stack = Stack::secure(&settings).await;
    let refused = stack.node("stranger").start().await.unwrap_err();
    assert_eq!(refused.code(), "enrolment_required");
    let said = refused.to_string();
    assert!(said.contains("agentnet enrol") && said.contains("AGENTNET_ENROLMENT_TOKEN"), "{said}");
    assert!(!said.contains("own-token"), "{said}");
    let wrong = stack.node("stranger").enrolment_token("no-such-token").start().await.unwrap_err();
    assert_eq!(wrong.code(), "enrolment_token_invalid");
    let node = stack.node("stranger").enrolment_token("the-network-s-own-token").start().await.unwrap();
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_tried_from_one_address_are_slowed_down_and_known_ones_are_not() {
    let stack = Stack::secure(&[("AGENTNET_UNKNOWN_KEYS_PER_ADDRESS", "3")]).await;
    let bob = echo(&stack, "bob").await;
    let settings = NatsSettings::from_url(&stack.nats.url()).unwrap();
    let mut refused = 0;
    for _ in 0..8 {
        match KeyDoor::open(&settings, agentnet::Identity::guest().key()).await {
            Ok(door) => door.close().await,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 4, "{refused} of 8");
    // From the same address, with a key that is known.
    bob.close().await.unwrap();
    echo(&stack, "bob").await.close().await.unwrap();
}
