//! Messages to threads with members, over real services.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use agentnet::proto::{Clock as _, SystemClock, rpc};
use agentnet::{AgentNode, ErrorKind, Stage};
use agentnet_local::testing::eventually;
use serde_json::json;
use support::{Heard, SOON, Stack, hears};

/// An agent that notes what it handles.
async fn listener(stack: &Stack, name: &str) -> (AgentNode, Heard) {
    let heard = Heard::default();
    let notes = Arc::clone(&heard);
    // One at a time: what it hears is in order.
    let node = stack.node(name).max_concurrency(1).on_message(move |message| {
        notes.lock().unwrap().push(message.envelope().message_id.clone());
        async { Ok(()) }
    });
    (node.start().await.unwrap(), heard)
}

/// The deliveries of a message, as recipient and state.
async fn deliveries(stack: &Stack, message_id: &str) -> Vec<(String, String)> {
    let request = rpc::DeliveriesRequest { message_id: Some(message_id.to_owned()), ..Default::default() };
    let answer = stack.registry().deliveries(&request).await.unwrap();
    answer.deliveries.into_iter().map(|row| (row.recipient, row.state)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_gets_it_once_and_answers_for_itself() {
    let stack = Stack::start().await;
    let (ann, ann_heard) = listener(&stack, "ann").await;
    let (bob, bob_heard) = listener(&stack, "bob").await;
    let (cat, cat_heard) = listener(&stack, "cat").await;
    let (eve, eve_heard) = listener(&stack, "eve").await;
    let thread = ann.create_thread("plans", &[bob.account_id(), cat.account_id()]).await.unwrap().thread_id;
    bob.join_thread(&thread).await.unwrap();
    cat.join_thread(&thread).await.unwrap();
    let to = format!("thread:{thread}");

    let sent = ann.send(&to, json!({"text": "hello"})).until(Stage::Processed).await.unwrap();
    assert_eq!(sent.thread_id, thread);
    hears(&bob_heard, &[&sent.message_id]).await;
    hears(&cat_heard, &[&sent.message_id]).await;
    let all = |state: &str| {
        let mut rows = vec![
            (bob.account_id().to_owned(), state.to_owned()),
            (cat.account_id().to_owned(), state.to_owned()),
        ];
        rows.sort();
        rows
    };
    eventually(SOON, || async { deliveries(&stack, &sent.message_id).await == all("processed") }).await;
    assert_eq!(stack.stored(&stack.registry(), &thread).await.len(), 1);

    // A stranger's post isn't stored, and reaches nobody, whichever way it goes.
    let refused = eve.send(&to, json!({})).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Auth, "thread_forbidden"));
    let forged = json!({
        "message_id": "forged", "from_agent": "eve", "from_account_id": eve.account_id(), "to_agent": to,
        "thread_id": thread, "payload": {}, "sent_at": SystemClock.now().to_string(), "ttl_ms": 60_000,
        "kind": "direct", "schema_version": "1.2",
    });
    let mut receipts = stack.listen(format!("account.{}.receipts", eve.account_id())).await;
    stack.publish(format!("account.{}.inbox", bob.account_id()), &forged).await;
    let receipt = support::next_json(&mut receipts).await;
    assert_eq!((&receipt["status"], &receipt["code"]), (&json!("rejected"), &json!("thread_forbidden")));

    // Whoever left neither posts nor hears.
    cat.leave_thread(&thread).await.unwrap();
    assert_eq!(cat.send(&to, json!({})).await.unwrap_err().code(), "thread_forbidden");
    let second = bob.send(&to, json!({})).until(Stage::Processed).await.unwrap();
    hears(&ann_heard, &[&second.message_id]).await;
    eventually(SOON, || async { deliveries(&stack, &second.message_id).await.len() == 1 }).await;
    hears(&bob_heard, &[&sent.message_id]).await;
    hears(&cat_heard, &[&sent.message_id]).await;
    assert!(eve_heard.lock().unwrap().is_empty());
}

/// The sender's NATS dies after the first copy: nobody but the first member got it from the sender.
#[tokio::test(flavor = "multi_thread")]
async fn one_copy_reaches_every_member_the_absent_ones_too() {
    let stack = Stack::start().await;
    let (ann, _) = listener(&stack, "ann").await;
    let (bob, bob_heard) = listener(&stack, "bob").await;
    let (cat, cat_heard) = listener(&stack, "cat").await;
    let (dan, _) = listener(&stack, "dan").await;
    let others = [bob.account_id(), cat.account_id(), dan.account_id()];
    let thread = ann.create_thread("", &others).await.unwrap().thread_id;
    for member in [&bob, &cat, &dan] {
        member.join_thread(&thread).await.unwrap();
    }
    dan.close().await.unwrap();
    let envelope = json!({
        "message_id": "first-copy", "from_agent": "ann", "from_account_id": ann.account_id(),
        "to_agent": format!("thread:{thread}"), "thread_id": thread, "payload": {"text": "last words"},
        "sent_at": SystemClock.now().to_string(), "ttl_ms": 600_000, "kind": "direct", "schema_version": "1.2",
    });
    let sender = ann.account_id().to_owned();
    ann.close().await.unwrap();
    stack.publish(format!("account.{}.inbox", bob.account_id()), &envelope).await;
    hears(&bob_heard, &["first-copy"]).await;
    hears(&cat_heard, &["first-copy"]).await;
    eventually(SOON, || async { deliveries(&stack, "first-copy").await.len() == 3 }).await;
    let (back, dan_heard) = listener(&stack, "dan").await;
    hears(&dan_heard, &["first-copy"]).await;
    eventually(SOON, || async {
        deliveries(&stack, "first-copy").await.iter().all(|(_, state)| state == "processed")
    })
    .await;
    assert!(deliveries(&stack, "first-copy").await.iter().all(|(recipient, _)| *recipient != sender));
    // Once each: what came over two ways is one message.
    hears(&bob_heard, &["first-copy"]).await;
    hears(&cat_heard, &["first-copy"]).await;
    back.close().await.unwrap();
}

/// The only copy that left lies in the stream when nats-server is killed, and its sender is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_sender_sees_nats_die_after_the_first_copy_reaches_every_member() {
    let stack = Stack::start().await;
    let (ann, _) = listener(&stack, "ann").await;
    let (bob, bob_heard) = listener(&stack, "bob").await;
    let (cat, cat_heard) = listener(&stack, "cat").await;
    let thread = ann.create_thread("", &[bob.account_id(), cat.account_id()]).await.unwrap().thread_id;
    for member in [&bob, &cat] {
        member.join_thread(&thread).await.unwrap();
    }
    let envelope = json!({
        "message_id": "first-copy", "from_agent": "ann", "from_account_id": ann.account_id(),
        "to_agent": format!("thread:{thread}"), "thread_id": thread, "payload": {"text": "last words"},
        "sent_at": SystemClock.now().to_string(), "ttl_ms": 600_000, "kind": "direct", "schema_version": "1.2",
    });
    ann.close().await.unwrap();
    stack.stop_persister().await;
    stack.publish(format!("account.{}.inbox", bob.account_id()), &envelope).await;
    let jetstream = async_nats::jetstream::new(stack.raw.clone());
    eventually(SOON, || async {
        let stream = jetstream.get_stream("AGENTNET").await.ok()?;
        (stream.cached_info().state.messages > 0).then_some(())
    })
    .await;
    stack.nats.kill();
    stack.nats.restart().unwrap();
    stack.start_persister().await;
    hears(&cat_heard, &["first-copy"]).await;
    eventually(SOON, || async {
        let rows = deliveries(&stack, "first-copy").await;
        rows.len() == 2 && rows.iter().all(|(_, state)| state == "processed")
    })
    .await;
    hears(&bob_heard, &["first-copy"]).await;
    hears(&cat_heard, &["first-copy"]).await;
}
