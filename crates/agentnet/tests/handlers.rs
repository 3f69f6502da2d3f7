//! Handlers of threads, kinds and blocks, quick sends and answers, over a real nats-server.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentnet::{AgentNode, ErrorKind, Incoming, On, proto::Block};
use serde_json::{Value, json};
use support::{Network, SECOND, next_json, next_status, original, until};
use tokio::sync::Notify;

const INBOX: &str = "account.acct_bob.inbox";
const RECEIPTS: &str = "account.acct_alice.receipts";

type Calls = Arc<Mutex<Vec<String>>>;

/// A handler that notes under which name it was called for what.
fn noting(
    calls: &Calls,
    name: &'static str,
) -> impl Fn(Incoming) -> std::future::Ready<agentnet::HandlerResult> + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move |message: Incoming| {
        calls.lock().unwrap().push(format!("{name} {}", message.message_id()));
        std::future::ready(Ok(()))
    }
}

fn message(id: &str, thread: &str, kind: &str, payload: Value) -> Value {
    let mut message = original("acct_alice", "acct_bob", id, payload);
    (message["thread_id"], message["kind"]) = (thread.into(), kind.into());
    message
}

#[tokio::test]
async fn a_thread_comes_before_kinds_and_blocks_and_those_before_the_rest() {
    let network = Network::start().await;
    let calls = Calls::default();
    let node = network
        .node("bob")
        .no_rate_limit()
        .on_message(noting(&calls, "any"))
        .on(On::kind("note"), noting(&calls, "kind"))
        .start()
        .await
        .unwrap();
    let thread = node.add_handler(On::thread("t"), noting(&calls, "thread")).unwrap();
    let block = node.add_handler(On::block("image"), noting(&calls, "block")).unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let mut send = async |id: &str, thread: &str, kind: &str, payload: Value| {
        network.publish(INBOX, &message(id, thread, kind, payload)).await;
        assert_eq!(next_status(&mut receipts, "processed").await["message_id"], id);
        let mut called = std::mem::take(&mut *calls.lock().unwrap());
        called.sort();
        called
    };
    let image = json!([{"type": "text", "content": "look"}, {"type": "image", "content": {"url": "u"}}]);
    assert_eq!(send("m1", "t", "note", image.clone()).await, ["thread m1"]);
    assert_eq!(send("m2", "u", "note", image.clone()).await, ["block m2", "kind m2"]);
    assert_eq!(send("m3", "u", "direct", image.clone()).await, ["block m3"]);
    assert_eq!(send("m4", "u", "note", json!({"text": "hi"})).await, ["kind m4"]);
    assert_eq!(send("m5", "u", "direct", json!({"text": "hi"})).await, ["any m5"]);
    // Removed while running.
    thread.remove();
    assert_eq!(send("m6", "t", "note", image.clone()).await, ["block m6", "kind m6"]);
    drop(block);
    assert_eq!(send("m7", "t", "direct", image.clone()).await, ["any m7"]);
    node.add_handler(On::Any, noting(&calls, "more")).unwrap().keep();
    assert_eq!(send("m8", "t", "direct", image).await, ["any m8", "more m8"]);
}

#[tokio::test]
async fn what_one_of_several_handlers_fails_with_is_reported() {
    let network = Network::start().await;
    let calls = Calls::default();
    let node = network
        .node("bob")
        .no_rate_limit()
        .circuit_breaker(100, SECOND)
        .on_message(noting(&calls, "fine"))
        .start()
        .await
        .unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    let failing = node.add_handler(On::Any, |_| async { Err("broken".into()) }).unwrap();
    network.publish(INBOX, &message("m1", "t", "direct", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "handler_error");
    failing.remove();
    let panicking = node
        .add_handler(On::Any, |message| {
            assert!(message.text().is_some(), "no text");
            async { Ok(()) }
        })
        .unwrap();
    network.publish(INBOX, &message("m2", "t", "direct", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "handler_error");
    assert_eq!(*calls.lock().unwrap(), ["fine m1", "fine m2"], "the others are called all the same");
    panicking.remove();
    network.publish(INBOX, &message("m2", "t", "direct", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "processed").await["message_id"], "m2", "may be tried again");
}

#[tokio::test]
async fn messages_wait_for_the_first_handler_and_what_none_is_for_is_refused() {
    let network = Network::start().await;
    let calls = Calls::default();
    let node = network.node("bob").no_rate_limit().listen().start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &message("early", "t", "direct", json!({}))).await;
    assert_eq!(next_json(&mut receipts).await["status"], "accepted");
    let guard = node.add_handler(On::thread("t"), noting(&calls, "thread")).unwrap();
    assert_eq!(next_json(&mut receipts).await["status"], "processed");
    network.publish(INBOX, &message("other", "u", "direct", json!({}))).await;
    let refused = next_status(&mut receipts, "rejected").await;
    assert_eq!((&refused["message_id"], &refused["code"]), (&json!("other"), &json!("no_handler")));
    drop(guard);
    network.publish(INBOX, &message("late", "t", "direct", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "no_handler");
    assert_eq!(*calls.lock().unwrap(), ["thread early"]);
}

#[tokio::test]
async fn a_node_that_closes_before_it_has_a_handler_hands_its_messages_back() {
    let network = Network::start().await;
    let node = network.node("bob").listen().start().await.unwrap();
    let mut receipts = network.listen(RECEIPTS).await;
    network.publish(INBOX, &message("m", "t", "direct", json!({}))).await;
    assert_eq!(next_json(&mut receipts).await["status"], "accepted");
    let closing = tokio::time::timeout(5 * SECOND, node.close()).await;
    closing.unwrap().unwrap();
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "shutting_down");
}

#[tokio::test]
async fn a_node_that_takes_no_messages_says_so() {
    let network = Network::start().await;
    let node = network.node("bob").start().await.unwrap();
    let error = node.add_handler(On::Any, |_| async { Ok(()) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = node.quick_send("acct_alice", "hi").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn handlers_are_bounded() {
    let network = Network::start().await;
    let node = network.node("bob").listen().start().await.unwrap();
    let add = |n: usize| node.add_handler(On::thread(n.to_string()), |_| async { Ok(()) });
    let mut guards: Vec<_> = (0..4_096).map(|n| add(n).unwrap()).collect();
    assert_eq!(add(4_096).unwrap_err().kind(), ErrorKind::InvalidArgument);
    guards.pop();
    guards.push(add(4_096).unwrap());
}

/// An agent that answers with a message in the thread.
async fn answering(network: &Network) -> AgentNode {
    network
        .node("bob")
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            let text = message.text().unwrap_or_default();
            if text != "silence" {
                message.reply_message(Block::text(format!("{text}!"))).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_quick_send_gets_one_answer_in_a_thread_of_its_own() {
    let network = Network::start().await;
    let _bob = answering(&network).await;
    let calls = Calls::default();
    let alice = network.node("alice").on_message(noting(&calls, "any")).start().await.unwrap();
    let answer = alice.quick_send("acct_bob", Block::text("rain")).await.unwrap();
    assert_eq!(answer.text().as_deref(), Some("rain!"));
    assert_eq!(answer.blocks().unwrap(), [Block::text("rain!")]);
    assert!(answer.thread_id().starts_with("thread_quick_"), "{}", answer.thread_id());
    assert!(answer.envelope().parent_message_id.is_some());
    // In a given thread only the answer to this very message counts.
    let first = alice.quick_send("acct_bob", "one").thread("t");
    let second = alice.quick_send("acct_bob", "two").thread("t");
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.text().unwrap(), second.text().unwrap()), ("one!".to_owned(), "two!".to_owned()));
    assert_eq!((first.thread_id(), second.thread_id()), ("t", "t"));
    assert!(calls.lock().unwrap().is_empty(), "answers go to nobody else");
}

#[tokio::test]
async fn a_quick_send_ends_with_its_timeout_and_its_handler_with_it() {
    let network = Network::start().await;
    let _bob = answering(&network).await;
    let calls = Calls::default();
    let alice = network.node("alice").on_message(noting(&calls, "any")).start().await.unwrap();
    let error =
        alice.quick_send("acct_bob", "silence").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let id = error.message_id().unwrap();
    // A late answer is a message like any other.
    let mut late = original("acct_bob", "acct_alice", "late", json!({"text": "sorry"}));
    late["parent_message_id"] = id.into();
    network.publish("account.acct_alice.inbox", &late).await;
    until(|| *calls.lock().unwrap() == ["any late"]).await;
}

#[tokio::test]
async fn a_quick_sends_own_handler_is_called_once_with_the_answer_or_the_timeout() {
    let network = Network::start().await;
    let _bob = answering(&network).await;
    let alice = network.node("alice").listen().start().await.unwrap();
    let (outcomes, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    for (text, timeout) in [("rain", 10 * SECOND), ("silence", Duration::from_millis(300))] {
        let (outcomes, called) = (Arc::clone(&outcomes), Arc::clone(&done));
        let sent = alice.quick_send("acct_bob", text).timeout(timeout).then(move |answer| async move {
            let outcome = answer.map(|message| message.text().unwrap()).map_err(|error| error.kind());
            outcomes.lock().unwrap().push(outcome);
            called.notify_one();
            Ok(())
        });
        assert!(sent.await.unwrap().is_accepted());
        done.notified().await;
    }
    assert_eq!(*outcomes.lock().unwrap(), [Ok("rain!".to_owned()), Err(ErrorKind::Timeout)]);
}

#[tokio::test]
async fn what_a_quick_sends_handler_fails_with_is_reported_to_whoever_answered() {
    let network = Network::start().await;
    let alice = network.node("alice").listen().start().await.unwrap();
    let mut inbox = network.listen(INBOX).await;
    let mut receipts = network.listen("account.acct_bob.receipts").await;
    let sent =
        alice.quick_send("account:acct_bob", "rain").then(|_| async { Err("I don't like that".into()) });
    sent.await.unwrap();
    let asked = next_json(&mut inbox).await;
    let mut answer = original("acct_bob", "acct_alice", "a1", json!({"text": "no"}));
    answer["thread_id"] = asked["thread_id"].clone();
    network.publish("account.acct_alice.inbox", &answer).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "handler_error");
}
