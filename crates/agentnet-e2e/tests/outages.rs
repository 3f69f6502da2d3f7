//! Parts of the network go away in the middle: nothing acknowledged is lost, nothing hangs.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use agentnet::{AgentNode, Delivery, ErrorKind, Stage};
use agentnet_e2e::faults::proxy::{Proxy, Shape};
use agentnet_local::testing::{TEST_TOKEN, eventually};
use serde_json::json;
use support::{SECOND, SOON, Stack, until, wait_disconnected};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// Sends one message after another until told to stop; what was acknowledged.
fn sender(node: &AgentNode, thread: &str) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<Vec<Delivery>>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let (node, thread) = (node.clone(), thread.to_owned());
    let task = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while stopped.try_recv().is_err() {
            n += 1;
            if let Ok(sent) = node.send("@bob", json!(n)).thread(thread.clone()).until(Stage::Stored).await {
                acknowledged.push(sent);
            }
        }
        acknowledged
    });
    (stop, task)
}

async fn check_all_stored(stack: &Stack, acknowledged: &[Delivery], thread: &str) {
    let mut stored = HashSet::new();
    let mut cursor = None;
    loop {
        let request = agentnet::proto::rpc::ThreadMessagesRequest {
            thread_id: thread.to_owned(),
            limit: Some(200),
            cursor,
        };
        let page = stack.registry().thread_messages(&request).await.unwrap();
        for row in page.messages {
            assert!(stored.insert(row.message_id), "shown twice");
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let lost = acknowledged.iter().filter(|sent| !stored.contains(&sent.message_id)).count();
    assert_eq!(lost, 0, "of {} acknowledged", acknowledged.len());
}

async fn pair(stack: &Stack) -> (AgentNode, AgentNode) {
    let bob = stack.node("bob").no_rate_limit().on_message(|_| async { Ok(()) }).start().await.unwrap();
    (stack.node("alice").receipt_timeout(Duration::from_millis(500)).start().await.unwrap(), bob)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_restarts_in_the_middle() {
    let stack = Stack::start().await;
    let (alice, bob) = pair(&stack).await;
    let (stop, task) = sender(&alice, "t");
    until(|| bob.metrics_snapshot().processed_count > 20).await;
    for _ in 0..2 {
        stack.nats.kill();
        wait_disconnected(alice.connection()).await;
        let during = alice.send("@bob", json!("during")).thread("t").queued().await.unwrap();
        stack.nats.restart().unwrap();
        assert!(timeout(SOON, during.until(Stage::Stored)).await.unwrap().unwrap().stored);
        let handled = bob.metrics_snapshot().processed_count;
        until(|| bob.metrics_snapshot().processed_count > handled + 20).await;
    }
    stop.send(()).unwrap();
    let acknowledged = timeout(SOON, task).await.unwrap().unwrap();
    assert!(acknowledged.len() > 40);
    check_all_stored(&stack, &acknowledged, "t").await;
    // Both are there again without help.
    let agents = agentnet_local::testing::eventually(SOON, || async {
        let agents = stack.registry().list(&Default::default()).await.ok()?.agents;
        (agents.len() == 2).then_some(agents)
    });
    assert_eq!(agents.await[0].agent_id, "alice");
    alice.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_dies_in_the_middle() {
    let stack = Stack::with_own_postgres().await;
    let (alice, bob) = pair(&stack).await;
    let (stop, task) = sender(&alice, "t");
    until(|| bob.metrics_snapshot().processed_count > 20).await;
    tokio::task::block_in_place(|| stack.crash_postgres());
    // Delivered, and not a word about being stored.
    let during = alice.send("@bob", json!("during")).thread("t").queued().await.unwrap();
    timeout(SOON, during.until(Stage::Accepted)).await.unwrap().unwrap();
    assert!(timeout(SECOND, during.until(Stage::Stored)).await.is_err());
    tokio::task::block_in_place(|| stack.restart_postgres());
    assert!(timeout(SOON, during.until(Stage::Stored)).await.unwrap().unwrap().stored);
    let handled = bob.metrics_snapshot().processed_count;
    until(|| bob.metrics_snapshot().processed_count > handled + 20).await;
    stop.send(()).unwrap();
    let mut acknowledged = timeout(SOON, task).await.unwrap().unwrap();
    acknowledged.push(during.delivery());
    check_all_stored(&stack, &acknowledged, "t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_persister_a_send_is_unconfirmed_and_arrives_later() {
    let stack = Stack::start().await;
    let (alice, bob) = pair(&stack).await;
    stack.stop_persister().await;
    let started = Instant::now();
    let error = alice.send("@bob", json!(1)).thread("t").retry_attempts(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(bob.metrics_snapshot().processed_count, 1, "the recipient had it all the same");
    stack.start_persister().await;
    until(|| alice.metrics_snapshot().outbox_count == 0).await;
    let rows = stack.stored(alice.registry(), "t").await;
    assert_eq!(
        rows.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(),
        [error.message_id().unwrap()]
    );
    until(|| bob.metrics_snapshot().receipts_unconfirmed == 0).await;
    assert_eq!(bob.metrics_snapshot().processed_count, 1, "no copy was handled again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_registry_messages_flow_and_questions_to_it_fail_at_once() {
    let stack = Stack::start().await;
    let (alice, bob) = pair(&stack).await;
    let bob_id = bob.account_id().to_owned();
    stack.stop_registry().await;
    let started = Instant::now();
    let error = stack.node("carol").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RegistryUnavailable, "{error}");
    let error = alice.send("@somebody", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RegistryUnavailable, "{error}");
    assert!(started.elapsed() < 2 * SECOND);
    assert!(alice.send(bob_id.as_str(), json!(1)).await.unwrap().is_accepted());
    stack.start_registry().await;
    // Heartbeats bring the sessions back, whatever the registry remembers.
    assert!(stack.node("carol").start().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_may_be_quicker_than_the_commit_and_stored_says_so() {
    let stack = Stack::start().await;
    let _bob = stack.node("bob").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    stack.stop_persister().await;
    let handle = alice.send("@bob", json!(1)).thread("quick").ttl(SOON * 20).queued().await.unwrap();
    let done = timeout(SOON, handle.until(Stage::Processed)).await.unwrap().unwrap();
    assert_eq!((done.stage, done.stored), (Some(Stage::Processed), false));
    assert_eq!(alice.metrics_snapshot().outbox_count, 1, "it is sent again until it is stored");
    stack.start_persister().await;
    let stored = timeout(SOON, handle.until(Stage::Stored)).await.unwrap().unwrap();
    assert_eq!((stored.stage, stored.stored), (Some(Stage::Processed), true));
    assert_eq!(stack.stored(alice.registry(), "quick").await.len(), 1);
}

#[tokio::test]
async fn a_reconnect_of_three_seconds_does_not_leave_a_message_waiting_for_its_time_to_live() {
    let stack = Stack::start().await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], stack.nats.port()))).await.unwrap();
    let (handled, mut seen) = mpsc::unbounded_channel();
    let bob = AgentNode::builder("bob")
        .nats_url(format!("nats://{TEST_TOKEN}@{}", proxy.address()))
        .dev_auth(false)
        .on_message(move |message| {
            let sent = handled.send(message.message_id().to_owned());
            async move { Ok(sent?) }
        })
        .start()
        .await
        .unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    proxy.shape(Shape { refuse: true, ..Shape::CLEAR });
    proxy.cut();
    wait_disconnected(bob.connection()).await;
    let gone = Instant::now();
    let send = alice.send_to_account(bob.account_id(), json!("hi")).ttl(Duration::from_secs(3600));
    assert_eq!(send.await.unwrap().stage, Some(Stage::Stored));
    until(|| gone.elapsed() >= Duration::from_secs(3)).await;
    proxy.shape(Shape::CLEAR);
    timeout(Duration::from_secs(20), seen.recv()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_makes_senders_wait_and_loses_nothing() {
    let stack = Stack::start_with(&[("AGENTNET_STREAM_MAX_BYTES", "1048576")]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let absent = stack.register_original("absent").await.0;
    stack.stop_persister().await;
    // Four times what the stream holds.
    let text = "x".repeat(200_000);
    let mut sent = Vec::new();
    for _ in 0..20 {
        sent.push(
            alice.send_to_account(&absent, json!(text)).thread("full").ttl(SOON * 20).queued().await.unwrap(),
        );
    }
    let jetstream = async_nats::jetstream::new(stack.raw.clone());
    let info = || async { jetstream.get_stream("AGENTNET").await.unwrap().cached_info().state.clone() };
    eventually(SOON, || async { info().await.messages >= 4 }).await;
    assert!(info().await.bytes <= 1 << 20);
    assert_eq!(alice.metrics_snapshot().outbox_count, 20, "nothing is confirmed that isn't stored");
    stack.start_persister().await;
    until(|| alice.metrics_snapshot().outbox_count == 0).await;
    let mut stored: Vec<String> =
        stack.stored_all(alice.registry(), "full").await.into_iter().map(|row| row.message_id).collect();
    let mut expected: Vec<String> = sent.iter().map(|handle| handle.message_id().to_owned()).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_wait_for_a_database_that_comes_later() {
    let stack = Stack::with_own_postgres().await;
    stack.stop_persister().await;
    stack.stop_registry().await;
    stack.crash_postgres();
    // Both have tried before it is there: they are polled first.
    tokio::join!(stack.start_persister(), stack.start_registry(), async {
        tokio::task::yield_now().await;
        tokio::task::block_in_place(|| stack.restart_postgres());
    });
    let (alice, _bob) = pair(&stack).await;
    assert!(timeout(SOON, alice.send("@bob", json!(1))).await.unwrap().unwrap().stored);
}
