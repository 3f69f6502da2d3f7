//! Agents talk over the real services: every stage is true, and both sides of every conversation end up in Postgres.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    future::IntoFuture as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{AgentNode, AgentWrapper, ErrorKind, Incoming, Sdk, Stage, To};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{SOON, Stack, next_json, original, until};
use tokio::time::timeout;

async fn echo(stack: &Stack, agent_id: &str) -> AgentNode {
    stack
        .node(agent_id)
        .capability("echo")
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(json!({"text": message.text()})).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_stored_accepted_and_processed() {
    let stack = Stack::start().await;
    let bob = echo(&stack, "bob").await;
    let alice = stack.node("alice").start().await.unwrap();
    let sent = alice.send("@bob", json!({"text": "hi", "n": 1.0})).thread("ops").await.unwrap();
    assert_eq!((sent.stored, sent.is_accepted()), (true, true));
    let done = alice.send("@bob", json!(2)).thread("ops").until(Stage::Processed).await.unwrap();
    assert_eq!(done.stage, Some(Stage::Processed));
    let by_capability = alice.send("capability:echo", json!(3)).thread("ops").await.unwrap();
    assert!(by_capability.is_accepted());
    // Acknowledged means committed: no waiting here.
    let rows = stack.stored(alice.registry(), "ops").await;
    let ids: Vec<_> = rows.iter().map(|row| row.message_id.as_str()).collect();
    assert!(
        ids.contains(&sent.message_id.as_str()) && ids.contains(&by_capability.message_id.as_str()),
        "{ids:?}"
    );
    let first = rows.iter().find(|row| row.message_id == sent.message_id).unwrap();
    assert_eq!(first.payload.get(), r#"{"n":1.0,"text":"hi"}"#);
    assert_eq!(
        (first.from_account_id.as_deref(), first.to_account_id.as_deref()),
        (Some(alice.account_id()), Some(bob.account_id()))
    );
    // The persister confirms receipts too.
    until(|| bob.metrics_snapshot().receipts_unconfirmed == 0 && alice.metrics_snapshot().outbox_count == 0)
        .await;
    assert_eq!((alice.metrics_snapshot().retry_count, bob.metrics_snapshot().receipts_resent_count), (0, 0));
    alice.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_replies_are_both_stored() {
    let stack = Stack::start().await;
    let bob = echo(&stack, "bob").await;
    let alice = stack.node("alice").start().await.unwrap();
    let reply = alice.request("@bob", json!({"text": "ping"})).thread("rpc").await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("ping"));
    until(|| bob.metrics_snapshot().outbox_count == 0 && alice.metrics_snapshot().outbox_count == 0).await;
    let mut kinds: Vec<_> =
        stack.stored(alice.registry(), "rpc").await.into_iter().map(|row| row.kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["reply", "request"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn originals_talk_with_us_both_ways() {
    let stack = Stack::start().await;
    let bob = echo(&stack, "bob").await;
    let carol = stack.register_original("carol").await;
    // Asked by an original: NATS request on our inbox, answer on its own.
    let mut request = original(&carol, bob.account_id(), "q1", &json!({"text": "hello"}));
    request["kind"] = "request".into();
    let mut receipts = stack.listen(format!("account.{}.receipts", carol.0)).await;
    let asked = stack.raw.request(format!("account.{}.inbox", bob.account_id()), request.to_string().into());
    let answer: Value =
        serde_json::from_slice(&timeout(SOON, asked).await.unwrap().unwrap().payload).unwrap();
    assert_eq!((&answer["payload"]["text"], &answer["parent_message_id"]), (&json!("hello"), &json!("q1")));
    assert_eq!(next_json(&mut receipts).await["status"], "accepted");
    assert_eq!(next_json(&mut receipts).await["status"], "processed");
    until(|| bob.metrics_snapshot().outbox_count == 0).await;
    // The original's question isn't in bob's outbox, and may be committed after the answer to it.
    let rows = || async { stack.stored(bob.registry(), "thread_q1").await.len() };
    agentnet_local::testing::eventually(SOON, || async { rows().await >= 2 }).await;
    assert_eq!(rows().await, 2, "the answer on its inbox is in the history, once");

    // Asking an original.
    let mut inbox = stack.listen(format!("account.{}.inbox", carol.0)).await;
    let (reply, ()) =
        tokio::join!(bob.request(carol.0.as_str(), json!("?")).thread("rpc").into_future(), async {
            let message = timeout(SOON, inbox.next()).await.unwrap().unwrap();
            let request: Value = serde_json::from_slice(&message.payload).unwrap();
            let mut reply = original(&carol, bob.account_id(), "r1", &json!({"text": "!"}));
            reply["kind"] = "reply".into();
            reply["parent_message_id"] = request["message_id"].clone();
            reply["thread_id"] = request["thread_id"].clone();
            stack.publish(message.reply.unwrap().to_string(), &reply).await;
        });
    assert_eq!(reply.unwrap().text().as_deref(), Some("!"));

    // Sending to an original that sends receipts without a version.
    let (sent, ()) = tokio::join!(bob.send(carol.0.as_str(), json!(1)).into_future(), async {
        let message = next_json(&mut inbox).await;
        let receipt = json!({
            "message_id": message["message_id"], "status": "accepted", "event_at": message["sent_at"],
            "from_account_id": carol.0, "to_account_id": bob.account_id(),
        });
        stack.publish(format!("account.{}.receipts", bob.account_id()), &receipt).await;
    });
    assert!(sent.unwrap().is_accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_recipient_leaves_a_stored_message() {
    let stack = Stack::start().await;
    let (bob, _) = stack.register_original("bob").await;
    let alice = stack.node("alice").receipt_timeout(Duration::from_millis(300)).start().await.unwrap();
    let sent = alice.send(bob.as_str(), json!(1)).thread("t").await.unwrap();
    assert_eq!((sent.stage, sent.stored), (Some(Stage::Stored), true));
    assert_eq!(stack.stored(alice.registry(), "t").await.len(), 1);
    let error = alice.request("@nobody_here", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = alice.request("capability:nothing", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoResponder, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_stored_once_and_handled_once() {
    let stack = Stack::start().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let bob = stack
        .node("bob")
        .on_message(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    let carol = stack.register_original("carol").await;
    let mut receipts = stack.listen(format!("account.{}.receipts", carol.0)).await;
    let mut stored = stack.listen(format!("account.{}.stored", carol.0)).await;
    let message = original(&carol, bob.account_id(), "m1", &json!(1));
    for expected in [["accepted", "processed"].as_slice(), &["rejected"]] {
        stack.publish(format!("account.{}.inbox", bob.account_id()), &message).await;
        for status in expected {
            assert_eq!(next_json(&mut receipts).await["status"], *status);
        }
        assert_eq!(next_json(&mut stored).await["message_ids"], json!(["m1"]), "every copy is confirmed");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(stack.stored(bob.registry(), "thread_m1").await.len(), 1);
    // Other content under a known id is the network's to refuse.
    let alice = stack.node("alice").start().await.unwrap();
    let sent = alice.send("@bob", json!("first")).message_id("mine").await.unwrap();
    assert!(sent.stored);
    let error =
        alice.send("@bob", json!("second")).message_id("mine").until(Stage::Stored).await.unwrap_err();
    assert_eq!(error.code(), "message_id_conflict", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_and_the_wrapper_do_what_the_originals_do() {
    let stack = Stack::start().await;
    let _bob = echo(&stack, "bob").await;
    let sdk = Sdk::builder("tool").name("Tool").nats_url(stack.nats.url()).start().await.unwrap();
    until_online(&sdk, 2).await;
    let profile = sdk.get_profile("@bob").await.unwrap();
    assert_eq!((profile.username.as_str(), profile.online), ("bob", true));
    let thread_id = sdk.new_thread_id();
    let mut thread = sdk.thread(&thread_id);
    let asked = thread.ask_text("bob", "one").await.unwrap();
    assert_eq!((asked.ok, asked.text.as_str()), (true, "one"));
    let sent = thread.send_json("bob", json!({"text": "two"})).await.unwrap();
    assert_eq!(sent.parent_message_id.as_deref(), Some(asked.message_id.as_str()));
    assert_eq!(thread.parent_message_id(), Some(sent.message_id.as_str()));
    sdk.send_text("bob", "three", Some(&thread_id)).await.unwrap();
    let answer = sdk.ask_json("bob", json!({"text": "four"}), Some(&thread_id)).await.unwrap();
    assert_eq!(answer.data, json!({"text": "four"}));
    until(|| sdk.node().metrics_snapshot().outbox_count == 0).await;
    let page = sdk.get_thread_messages(&thread_id, Some(2), None).await.unwrap();
    assert_eq!(page.messages.len(), 2);
    assert!(
        sdk.get_thread_messages(&thread_id, Some(2), page.next_cursor.as_deref())
            .await
            .unwrap()
            .messages
            .len()
            == 2
    );
    assert!(sdk.thread_status(&thread_id).await.unwrap().thread.message_count >= 4);
    let threads = sdk.list_threads(&agentnet::proto::rpc::ThreadListRequest::default()).await.unwrap();
    assert_eq!(threads.results[0].thread_id, thread_id);
    let query = agentnet::proto::rpc::MessageSearchRequest { q: Some("three".into()), ..Default::default() };
    assert_eq!(sdk.search_messages(&query).await.unwrap().messages.len(), 1);
    assert!(sdk.registry_metrics().await.unwrap().store_enabled);
    sdk.stop().await.unwrap();

    let wrapper = AgentWrapper::of(stack.node("wrapped"));
    wrapper.receive(|_| async { Ok(()) }).unwrap();
    wrapper.connect().await.unwrap();
    let reply = wrapper.request(To::username("bob"), json!({"text": "hi"}), None).await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("hi"));
    assert!(wrapper.send(To::capability("echo"), json!(1), Some("w")).await.unwrap().stored);
    assert_eq!(wrapper.resolve_username("@bob").await.unwrap().as_str(), reply.from_account().unwrap());
    wrapper.close().await.unwrap();
}

async fn until_online(sdk: &Sdk, count: usize) {
    agentnet_local::testing::eventually(SOON, || async { sdk.list_online().await.unwrap().len() == count })
        .await;
}
