//! Answers to quick sends among other messages, handlers that own handlers, and news of blocks, over a real nats-server.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentnet::{AgentNode, ErrorKind, Incoming, On};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{Network, SECOND, next, next_json, next_status, original, until};
use tokio::sync::Notify;

const TO_ALICE: &str = "account.acct_alice.inbox";
const TO_BOB: &str = "account.acct_bob.inbox";

type Calls = Arc<Mutex<Vec<String>>>;

/// A handler that notes what it was called for.
fn noting(
    calls: &Calls,
) -> impl Fn(Incoming) -> std::future::Ready<agentnet::HandlerResult> + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move |message: Incoming| {
        calls.lock().unwrap().push(message.message_id().to_owned());
        std::future::ready(Ok(()))
    }
}

/// An answer to what alice asked.
fn answer(from: &str, id: &str, asked: &Value) -> Value {
    let mut answer = original(from, "acct_alice", id, json!({"text": id}));
    answer["thread_id"] = asked["thread_id"].clone();
    answer["parent_message_id"] = asked["message_id"].clone();
    answer
}

#[tokio::test]
async fn handlers_of_which_each_asks_somebody_else_get_their_answers() {
    let network = Network::start().await;
    let bob = network.node("bob").no_rate_limit().on_message(|message: Incoming| async move {
        message.reply_message(json!({"text": "yes"})).await?;
        Ok(())
    });
    let _bob = bob.start().await.unwrap();
    let alice = network.node("alice").max_concurrency(1).listen().start().await.unwrap();
    let asking = alice.clone();
    let asks = move |_| {
        let asking = asking.clone();
        async move {
            asking.quick_send("account:acct_bob", "well?").timeout(5 * SECOND).await?;
            Ok(())
        }
    };
    let _guard = alice.add_handler(On::Any, asks).unwrap();
    let mut receipts = network.listen("account.acct_carol.receipts").await;
    for id in ["m1", "m2"] {
        network.publish(TO_ALICE, &original("acct_carol", "acct_alice", id, json!({}))).await;
        assert_eq!(next_status(&mut receipts, "processed").await["message_id"], id);
    }
}

#[tokio::test]
async fn a_quick_send_before_the_first_handler_refuses_nothing_that_waits() {
    let network = Network::start().await;
    let alice = network.node("alice").no_rate_limit().listen().start().await.unwrap();
    let mut receipts = network.listen("account.acct_carol.receipts").await;
    let mut inbox = network.listen(TO_BOB).await;
    network.publish(TO_ALICE, &original("acct_carol", "acct_alice", "early", json!({}))).await;
    assert_eq!(next_json(&mut receipts).await["status"], "accepted");
    let asker = alice.clone();
    let asking = tokio::spawn(async move { asker.quick_send("account:acct_bob", "well?").await });
    let asked = next_json(&mut inbox).await;
    network.publish(TO_ALICE, &answer("acct_bob", "a1", &asked)).await;
    assert_eq!(asking.await.unwrap().unwrap().message_id(), "a1");
    alice.add_handler(On::Any, |_| async { Ok(()) }).unwrap().keep();
    let told = next_json(&mut receipts).await;
    assert_eq!((&told["message_id"], &told["status"]), (&json!("early"), &json!("processed")));
}

/// Nothing is confirmed here: the answer itself says that the message arrived.
#[tokio::test]
async fn an_answer_counts_though_the_network_confirms_nothing_and_only_one() {
    let network = Network::start().await;
    let calls = Calls::default();
    // One at a time, so that which of two answers comes first is certain.
    let alice = network.node("alice").no_rate_limit().max_concurrency(1).on_message(noting(&calls));
    let alice = alice.start().await.unwrap();
    let mut inbox = network.listen(TO_BOB).await;
    network.set_storing(false);
    let asker = alice.clone();
    let asking = tokio::spawn(async move { asker.quick_send("account:acct_bob", "well?").await });
    let asked = next_json(&mut inbox).await;
    // Whoever else knows the thread doesn't answer for bob.
    for message in
        [answer("acct_eve", "e1", &asked), answer("acct_bob", "a1", &asked), answer("acct_bob", "a2", &asked)]
    {
        network.publish(TO_ALICE, &message).await;
    }
    assert_eq!(asking.await.unwrap().unwrap().message_id(), "a1");
    until(|| *calls.lock().unwrap() == ["e1", "a2"]).await;

    // The same for a handler of the answer, and for one of which nothing comes.
    let (heard, called) = (Calls::default(), Arc::new(Notify::new()));
    let (notes, done, asker) = (Arc::clone(&heard), Arc::clone(&called), alice.clone());
    let asking = tokio::spawn(async move {
        let then = move |answer: Result<Incoming, agentnet::Error>| async move {
            notes.lock().unwrap().push(answer.unwrap().message_id().to_owned());
            done.notify_one();
            Ok(())
        };
        asker.quick_send("account:acct_bob", "and?").timeout(SECOND).then(then).await
    });
    let is_second = |message: &Value| message["message_id"] != asked["message_id"];
    let mut second = next_json(&mut inbox).await;
    while !is_second(&second) {
        second = next_json(&mut inbox).await;
    }
    for id in ["b1", "b2"] {
        network.publish(TO_ALICE, &answer("acct_bob", id, &second)).await;
    }
    called.notified().await;
    asking.await.unwrap().unwrap();
    until(|| calls.lock().unwrap().last().is_some_and(|id| id == "b2")).await;
    assert_eq!(*heard.lock().unwrap(), ["b1"]);
    let silent = alice.quick_send("account:acct_bob", "hm").timeout(Duration::from_millis(300)).await;
    assert_eq!(silent.unwrap_err().kind(), ErrorKind::Timeout, "the timeout is one of sending, too");
}

#[tokio::test]
async fn a_message_to_oneself_is_not_its_own_answer() {
    let network = Network::start().await;
    let calls = Calls::default();
    let alice = network.node("alice").on_message(noting(&calls)).start().await.unwrap();
    let asked = alice.quick_send("account:acct_alice", "well?").timeout(SECOND).await.unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::Timeout);
    assert_eq!(*calls.lock().unwrap(), [asked.message_id().unwrap()]);
}

#[tokio::test]
async fn a_handler_may_own_the_guard_of_another() {
    let network = Network::start().await;
    let node = network.node("alice").listen().start().await.unwrap();
    let inner = node.add_handler(On::thread("inner"), |_| async { Ok(()) }).unwrap();
    let outer = node.add_handler(On::thread("outer"), move |_| {
        let _inner = &inner;
        async { Ok(()) }
    });
    let outer = outer.unwrap();
    let removing = std::thread::spawn(move || outer.remove());
    until(|| removing.is_finished()).await;
}

#[tokio::test]
async fn what_fails_is_told_though_another_handler_runs_out_of_time() {
    let network = Network::start().await;
    let node = network
        .node("alice")
        .work_timeout(Duration::from_millis(200))
        .on(On::Any, |_| std::future::pending())
        .on(On::Any, |_| async { Err("broken".into()) });
    let _node = node.start().await.unwrap();
    let mut receipts = network.listen("account.acct_carol.receipts").await;
    network.publish(TO_ALICE, &original("acct_carol", "acct_alice", "m", json!({}))).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "handler_error");
}

async fn is_refused(network: &Network, id: &str, kind: &str) -> bool {
    let mut receipts = network.listen("account.acct_eve.receipts").await;
    let mut message = original("acct_eve", "acct_alice", id, json!({}));
    message["kind"] = kind.into();
    network.publish(TO_ALICE, &message).await;
    loop {
        let receipt = next_json(&mut receipts).await;
        if receipt["message_id"] == id && receipt["status"] != "accepted" {
            return receipt["code"] == "blocked";
        }
    }
}

fn blocking(accounts: &[&str]) -> Value {
    let row = |id: &&str| json!({"account_id": id, "created_at": "2026-02-21T08:00:00Z"});
    json!({"blocked": accounts.iter().map(row).collect::<Vec<_>>(), "generated_at": "2026-02-21T08:00:00Z"})
}

async fn listening(network: &Network) -> AgentNode {
    network.node("alice").no_rate_limit().on_message(|_| async { Ok(()) }).start().await.unwrap()
}

/// The registry said that nobody is blocked, and the block came before its news were heard.
#[tokio::test]
async fn a_block_from_while_a_node_starts_is_found_whatever_a_message_calls_itself() {
    let network = Network::start().await;
    network.with(|seen| {
        seen.heartbeat = Some(1.0);
        seen.answers.insert("block_list".to_owned(), blocking(&["acct_eve"]));
    });
    let _alice = listening(&network).await;
    let mut tries = 0;
    while !is_refused(&network, &format!("m{tries}"), "direct").await {
        tries += 1;
    }
    for kind in ["reply", "error"] {
        assert!(is_refused(&network, kind, kind).await, "{kind}");
    }
}

#[tokio::test]
async fn an_older_list_of_blocks_does_not_come_in_place_of_a_newer_one() {
    let network = Network::start().await;
    let added = json!({"account_id": "acct_eve", "blocked": true, "changed": true,
                       "generated_at": "2026-02-21T08:00:00Z"});
    network.with(|seen| {
        seen.answers.insert("block_add".to_owned(), added);
        // The test answers it.
        seen.answers.insert("block_list".to_owned(), Value::Null);
    });
    let alice = listening(&network).await;
    let mut lists = network.listen("registry.block_list").await;
    network.publish("account.acct_alice.blocks", &json!({})).await;
    let older = next(&mut lists).await;
    let blocker = alice.clone();
    let blocked = tokio::spawn(async move { blocker.block("account:acct_eve").await });
    let give = async |question: async_nats::Message, accounts: &[&str]| {
        let answer = blocking(accounts).to_string();
        network.raw.publish(question.reply.unwrap(), answer.into()).await.unwrap();
    };
    // Were both asked at once, the older answer would come last.
    match tokio::time::timeout(SECOND, lists.next()).await {
        Ok(newer) => {
            give(newer.unwrap(), &["acct_eve"]).await;
            blocked.await.unwrap().unwrap();
            give(older, &[]).await;
        }
        Err(_) => {
            give(older, &[]).await;
            give(next(&mut lists).await, &["acct_eve"]).await;
            blocked.await.unwrap().unwrap();
        }
    }
    assert!(is_refused(&network, "m", "direct").await);
}
