//! Bad input and overload, end to end: every one ends in a code, nothing lost, nothing hung.

mod support;

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use agentnet::{ErrorKind, HandlerResult, Incoming, Stage};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::{SECOND, SOON, Stack, next_json, original, until};
use tokio::{sync::Semaphore, time::timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_that_cannot_be_taken_are_answered_and_kept() {
    let stack = Stack::start().await;
    let bob = stack.node("bob").no_rate_limit().on_message(|_| async { Ok(()) }).start().await.unwrap();
    let carol = stack.register_original("carol").await;
    let mut receipts = stack.listen(format!("account.{}.receipts", carol.0)).await;
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 6] = [
        ("missing_ttl", |m| m["ttl_ms"] = Value::Null),
        ("expired", |m| m["ttl_ms"] = 0.into()),
        ("expired", |m| m["sent_at"] = "2026-02-21T08:00:00Z".into()),
        ("unsupported_schema_version", |m| m["schema_version"] = "2.0".into()),
        ("schema_version_invalid", |m| m["schema_version"] = "x".into()),
        ("payload_too_large", |m| m["payload"] = "x".repeat(256_000).into()),
    ];
    let inbox = format!("account.{}.inbox", bob.account_id());
    for (n, (code, change)) in cases.into_iter().enumerate() {
        let mut message = original(&carol, bob.account_id(), &format!("m{n}"), &json!({}));
        change(&mut message);
        stack.publish(inbox.clone(), &message).await;
        let receipt = next_json(&mut receipts).await;
        assert_eq!((&receipt["status"], &receipt["code"]), (&json!("rejected"), &json!(code)), "{receipt}");
    }
    for garbage in ["{", "[]", "\u{0}", r#"{"message_id":7,"payload":"\ud800"}"#] {
        stack.raw.publish(inbox.clone(), garbage.to_owned().into()).await.unwrap();
    }
    // Neither end minds: the next message goes through.
    let alice = stack.node("alice").start().await.unwrap();
    let nul = alice.send("@bob", json!({"text": "a\u{0}b"})).until(Stage::Processed);
    let processed = timeout(SOON, nul.into_future()).await.unwrap().unwrap();
    assert_eq!(processed.stage, Some(Stage::Processed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_slowed_down_and_stored() {
    let stack = Stack::start().await;
    let bob = stack.node("bob").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let alice = stack.node("alice").receipt_timeout(Duration::from_millis(500)).start().await.unwrap();
    let mut handles = Vec::new();
    for n in 0..15 {
        handles.push(alice.send("@bob", json!(n)).thread("burst").queued().await.unwrap());
    }
    let mut refused = 0;
    for handle in &handles {
        let sent = timeout(SOON, handle.delivered()).await.unwrap().unwrap();
        assert!(sent.stored);
        if let Some(refusal) = sent.refusal {
            assert_eq!(refusal.code, "rate_limited");
            refused += 1;
        }
    }
    assert!(refused >= 1, "the recipient takes 10 at once");
    assert!(bob.metrics_snapshot().rate_limited_count >= 1);
    assert_eq!(stack.stored(alice.registry(), "burst").await.len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backlog_is_busy_and_a_request_hears_it() {
    let stack = Stack::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let bob = stack
        .node("bob")
        .max_concurrency(1)
        .max_pending(1)
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
    let alice = stack.node("alice").start().await.unwrap();
    let first = alice.send("@bob", json!(1)).queued().await.unwrap();
    until(|| bob.metrics_snapshot().inflight_count == 1).await;
    let second = alice.send("@bob", json!(2)).await.unwrap();
    assert!(second.is_accepted());
    let third = alice.send("@bob", json!(3)).await.unwrap();
    assert_eq!(third.refusal.unwrap().code, "busy");
    let error = alice.request("@bob", json!(4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    gate.add_permits(100);
    timeout(SOON, first.until(Stage::Processed)).await.unwrap().unwrap();
}

async fn misbehave(message: Incoming) -> HandlerResult {
    match message.text().as_deref() {
        Some("fail") => Err("no".into()),
        Some("hang") => std::future::pending().await,
        Some("panic") => panic!("as asked"),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_fail_hang_or_panic() {
    let stack = Stack::start().await;
    let _bob = stack
        .node("bob")
        .no_rate_limit()
        .work_timeout(Duration::from_millis(300))
        .on_message(misbehave)
        .start()
        .await
        .unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    for (how, kind) in
        [("fail", ErrorKind::HandlerError), ("hang", ErrorKind::Timeout), ("panic", ErrorKind::HandlerError)]
    {
        let error = alice.send("@bob", json!(how)).until(Stage::Processed).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{how}: {error}");
        let error = alice.request("@bob", json!(how)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{how}: {error}");
        assert!(error.message_id().is_some());
        // In between, so that the circuit stays closed.
        alice.send("@bob", json!("behave")).until(Stage::Processed).await.unwrap();
    }
    // For a plain send the handler's failure is not the delivery's.
    assert!(alice.send("@bob", json!("fail")).await.unwrap().is_accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_drains_what_was_accepted() {
    let stack = Stack::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let bob = stack
        .node("bob")
        .max_concurrency(1)
        .on_message(move |message: Incoming| {
            let gate = Arc::clone(&handler_gate);
            async move {
                gate.acquire().await?.forget();
                message.reply(json!("done")).await?;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    let ask = |n: i32| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.request("@bob", json!(n)).timeout(SOON).await })
    };
    let asked = [ask(1), ask(2)];
    until(|| bob.metrics_snapshot().inflight_count + bob.metrics_snapshot().pending_count == 2).await;
    let closing = tokio::spawn({
        let bob = bob.clone();
        async move { bob.close().await }
    });
    // Nobody takes new messages: they wait in Postgres.
    until(|| !bob.is_accepting()).await;
    gate.add_permits(2);
    timeout(SOON, closing).await.unwrap().unwrap().unwrap();
    for reply in asked {
        assert_eq!(timeout(SOON, reply).await.unwrap().unwrap().unwrap().text().as_deref(), Some("done"));
    }
    let late = alice.send("@bob", json!("late")).receipt_timeout(SECOND).await.unwrap();
    assert_eq!((late.stage, late.stored), (Some(Stage::Stored), true));
    let gone = agentnet_local::testing::eventually(SOON, || async {
        let agents = alice.registry().list(&Default::default()).await.unwrap().agents;
        agents.iter().all(|agent| agent.agent_id != "bob")
    });
    gone.await;
}

/// What one sender floods a recipient with costs the others nothing: their messages are taken at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_sender_leaves_the_others_alone() {
    let stack = Stack::start().await;
    let bob = stack.node("bob").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let mallory = stack.register_original("mallory").await;
    let mut refusals = stack.listen(format!("account.{}.receipts", mallory.0)).await;
    let inbox = format!("account.{}.inbox", bob.account_id());
    let flood = async {
        for n in 0..5_000 {
            let message = original(&mallory, bob.account_id(), &format!("flood{n}"), &json!({}));
            stack.publish(inbox.clone(), &message).await;
        }
    };
    let others = async {
        for name in ["alice", "carol", "dave"] {
            let node = stack.node(name).start().await.unwrap();
            for n in 0..5 {
                let sent = node.send("@bob", json!(n)).until(Stage::Processed).into_future();
                let sent = timeout(SOON, sent).await.unwrap().unwrap();
                assert_eq!((sent.stage, sent.refusal), (Some(Stage::Processed), None), "{name} {n}");
            }
            node.close().await.unwrap();
        }
    };
    tokio::join!(flood, others);
    loop {
        let receipt = next_json(&mut refusals).await;
        if receipt["status"] == "rejected" {
            assert_eq!(receipt["code"], "rate_limited");
            break;
        }
    }
}

/// More agents than the registry can take in are told so in time, and come in by themselves once it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_registrations_at_once_are_told_to_wait_and_do() {
    let stack = Stack::start_with(&[("AGENTNET_DB_CONNECTIONS", "2")]).await;
    let mut lock = sqlx::PgConnection::connect(stack.database_url()).await.unwrap();
    let mut held = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE agent_accounts IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    // Two of them all have a connection each and wait for the lock; who waits for a turn hears so before its client
    // gives up.
    let starts: Vec<_> = (0..8)
        .map(|n| {
            let node = stack.node(&format!("agent_{n}"));
            tokio::spawn(async move { node.start().await })
        })
        .collect();
    let mut asked: futures_util::stream::FuturesUnordered<_> = (0..16)
        .map(|n| {
            let body =
                json!({"agent_id": format!("raw_{n}"), "name": "x", "capabilities": [], "metadata": {}});
            stack.raw.request("registry.register", body.to_string().into())
        })
        .collect();
    let busy = loop {
        let answer =
            timeout(SOON, asked.next()).await.unwrap().expect("one of them is told to wait").unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        if answer["error"] == "busy" {
            break answer;
        }
    };
    assert_eq!(busy["retryable"], true, "{busy}");
    held.rollback().await.unwrap();
    let mut came_in = 0;
    for start in starts {
        match timeout(SOON, start).await.unwrap().unwrap() {
            Ok(_) => came_in += 1,
            // Those that had their turn already waited for the database itself.
            Err(error) => assert_eq!(error.code(), "failed resolving account identity", "{error}"),
        }
    }
    assert!(came_in >= 6, "{came_in}");
}
