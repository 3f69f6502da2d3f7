//! Files that outlive the process: the outbox of a sender, the dedupe of a recipient.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{
    AgentNode, AgentNodeBuilder, ErrorKind, OutboxPolicy, Stage,
    proto::{OffsetClock, envelope::LATE_HEADER},
};
use serde_json::{Value, json};
use support::{Network, next, next_status, original, round_trip, until};
use tempfile::TempDir;

const RESEND: &str = "agentnet.resend";
const RECEIPTS: &str = "account.acct_alice.receipts";
const REDELIVERY: &str = "account.acct_bob.redelivery";

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    (dir, path)
}

fn alice(network: &Network, file: &Path) -> AgentNodeBuilder {
    network.node("alice").outbox_file(file)
}

/// The bytes of every message that was captured on subjects that end so.
fn captured(network: &Network, subject_end: &str) -> HashMap<String, Vec<u8>> {
    network.with(|seen| {
        let found = seen.captured.iter().filter(|(subject, ..)| subject.ends_with(subject_end));
        found
            .map(|(_, body, bytes)| (body["message_id"].as_str().unwrap().to_owned(), bytes.clone()))
            .collect()
    })
}

/// Queues messages for bob as fast as it can, and prints the id of each once it is on the disk.
#[tokio::test]
#[ignore = "a helper of the test below"]
async fn queues_until_it_is_killed() {
    let Ok(url) = std::env::var("TEST_NATS_URL") else { return };
    let node = AgentNode::builder("alice")
        .nats_url(url)
        .outbox_file(std::env::var("TEST_OUTBOX").unwrap())
        .start()
        .await
        .unwrap();
    for n in 0.. {
        let handle = node.send("acct_bob", json!(n)).queued().await.unwrap();
        println!("queued {}", handle.message_id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_survives_kill_9() {
    let network = Network::start().await;
    network.set_storing(false);
    let (_dir, file) = place();
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "queues_until_it_is_killed", "--ignored", "--nocapture"])
            .envs([("TEST_NATS_URL", network.nats.url().as_ref()), ("TEST_OUTBOX", file.to_str().unwrap())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut queued: Vec<String> = Vec::new();
        for line in lines.map_while(Result::ok) {
            queued.extend(line.split_once("queued ").map(|(_, id)| id.to_owned()));
            if queued.len() == 20 + round {
                // It queues on until it dies: what it was told so far counts.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(queued.len() >= 20 + round);
        network.set_storing(true);
        let node = alice(&network, &file).start().await.unwrap();
        let left: Vec<String> = node.left_over().iter().map(|h| h.message_id().to_owned()).collect();
        until(|| node.metrics_snapshot().outbox_count == 0).await;
        let (first, resent) = (captured(&network, ".inbox"), captured(&network, RESEND));
        for id in &queued {
            assert!(left.contains(id), "{id} is forgotten");
            // One that never left in its time has no first copy.
            assert!(first.get(id).is_none_or(|bytes| *bytes == resent[id]), "{id} has other bytes");
        }
        node.close().await.unwrap();
        network.set_storing(false);
    }
    let node = alice(&network, &file).start().await.unwrap();
    assert!(node.left_over().is_empty(), "confirmed messages stay away");
}

#[tokio::test]
async fn a_handle_tells_what_became_of_a_message_of_an_earlier_process() {
    let network = Network::start().await;
    network.set_storing(false);
    let (_dir, file) = place();
    let node = alice(&network, &file).start().await.unwrap();
    let queued = node.send("acct_bob", json!(1)).thread("t").queued().await.unwrap();
    let id = queued.message_id().to_owned();
    drop((queued, node));
    let node = alice(&network, &file).start().await.unwrap();
    let mut left = node.left_over();
    assert!(node.left_over().is_empty(), "given once");
    let handle = left.pop().unwrap();
    assert_eq!((handle.message_id(), handle.thread_id(), left.len()), (id.as_str(), "t", 0));
    network.set_storing(true);
    assert_eq!(handle.until(Stage::Stored).await.unwrap().stage, Some(Stage::Stored));
    let mut receipt = original("acct_mallory", "acct_alice", &id, json!(0));
    receipt["status"] = "accepted".into();
    network.publish(RECEIPTS, &receipt).await;
    receipt["from_account_id"] = "acct_bob".into();
    receipt["status"] = "processed".into();
    network.publish(RECEIPTS, &receipt).await;
    assert_eq!(handle.until(Stage::Processed).await.unwrap().stage, Some(Stage::Processed));
}

#[tokio::test]
async fn what_the_file_holds_counts_and_a_full_outbox_fails_or_waits() {
    let network = Network::start().await;
    network.set_storing(false);
    let (_dir, file) = place();
    let builder = || alice(&network, &file).outbox(2, 1 << 20);
    let node = builder().start().await.unwrap();
    for n in 0..2 {
        node.send("acct_bob", json!(n)).queued().await.unwrap();
    }
    drop(node);
    let node = builder().outbox_policy(OutboxPolicy::Fail).start().await.unwrap();
    let full = node.send("acct_bob", json!(2)).queued().await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::OutboxFull);
    drop(node);
    // Also when the limit is lower than what is there.
    let node = alice(&network, &file).outbox(1, 1).start().await.unwrap();
    assert_eq!(node.metrics_snapshot().outbox_count, 2);
    let waiting = node.send("acct_bob", json!(3)).queued();
    network.set_storing(true);
    waiting.await.unwrap();
    assert_eq!(captured(&network, RESEND).len(), 2);
}

#[tokio::test]
async fn what_nobody_can_use_any_more_is_dropped_and_what_may_be_seen_goes_to_the_history() {
    let network = Network::start().await;
    network.set_storing(false);
    let (_dir, file) = place();
    let node = alice(&network, &file).start().await.unwrap();
    node.send("acct_bob", json!(1)).queued().await.unwrap();
    drop(node);
    let mut resends = network.listen(RESEND).await;
    let later = |seconds: i64| {
        let builder = alice(&network, &file);
        builder.clock(Arc::new(OffsetClock::new(seconds * 1000))).start()
    };
    let node = later(40).await.unwrap();
    let headers = next(&mut resends).await.headers.unwrap();
    assert!(headers.get(LATE_HEADER).is_some(), "{headers:?}");
    drop(node);
    let node = later(3600).await.unwrap();
    assert_eq!((node.left_over().len(), node.metrics_snapshot().outbox_count), (0, 0));
    node.close().await.unwrap();
    assert_eq!(later(0).await.unwrap().left_over().len(), 0);
}

#[tokio::test]
async fn files_of_others_are_refused_with_a_code() {
    let network = Network::start().await;
    network.set_storing(false);
    let (_dir, file) = place();
    let node = alice(&network, &file).start().await.unwrap();
    let error = alice(&network, &file).start().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_in_use"));
    node.send("acct_bob", json!(1)).queued().await.unwrap();
    drop(node);
    let error = network.node("carol").outbox_file(&file).start().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_of_another"));
    assert!(error.detail().contains("acct_alice"), "{error}");
    let error = network.node("alice").dedupe_file(&file).start().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_damaged"));
    // And is still there for whom it belongs to.
    assert_eq!(alice(&network, &file).start().await.unwrap().left_over().len(), 1);
}

#[tokio::test]
async fn an_answered_request_goes_to_the_history_after_its_time() {
    let network = Network::start().await;
    let mut resends = network.listen(RESEND).await;
    network.set_storing(false);
    let bob = network.node("bob").on_message(|message| async move {
        message.reply(json!(2)).await?;
        Ok(())
    });
    let _bob = bob.start().await.unwrap();
    let alice = network.node("alice").receipt_timeout(Duration::from_millis(300)).start().await.unwrap();
    alice.request("acct_bob", json!(1)).timeout(Duration::from_millis(600)).await.unwrap();
    loop {
        let message = next(&mut resends).await;
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        if body["kind"] == "request" && message.headers.is_some_and(|h| h.get(LATE_HEADER).is_some()) {
            break;
        }
    }
    network.set_storing(true);
    until(|| alice.metrics_snapshot().outbox_count == 0).await;
}

fn bob(network: &Network, file: &Path) -> (AgentNodeBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let builder = network.node("bob").dedupe_file(file).on_message(move |message| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if message.text().as_deref() == Some("hang") {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    (builder, calls)
}

#[tokio::test]
async fn what_was_handled_is_not_handled_again_after_a_restart() {
    let network = Network::start().await;
    let (_dir, file) = place();
    let mut message = original("acct_alice", "acct_bob", "m1", json!({"text": "hi"}));
    message["idempotency_key"] = "order 7".into();
    message["schema_version"] = "1.2".into();
    let mut receipts = network.listen(RECEIPTS).await;
    let (builder, calls) = bob(&network, &file);
    let node = builder.start().await.unwrap();
    network.publish(REDELIVERY, &message).await;
    next_status(&mut receipts, "processed").await;
    // As a crash would: without a word.
    drop(node);
    let (builder, calls_later) = bob(&network, &file);
    let node = builder.start().await.unwrap();
    network.publish(REDELIVERY, &message).await;
    let receipt = next_status(&mut receipts, "processed").await;
    assert_eq!(receipt["from_session_tag"], node.session_tag(), "the earlier outcome, by the new session");
    message["message_id"] = "m2".into();
    network.publish(REDELIVERY, &message).await;
    assert_eq!(next_status(&mut receipts, "rejected").await["code"], "duplicate");
    assert_eq!((calls.load(Ordering::SeqCst), calls_later.load(Ordering::SeqCst)), (1, 0));
    node.close().await.unwrap();
    // Beyond its window it is another message.
    let (builder, calls_much_later) = bob(&network, &file);
    let _node = builder.clock(Arc::new(OffsetClock::new(601_000))).start().await.unwrap();
    network.publish(REDELIVERY, &message).await;
    next_status(&mut receipts, "processed").await;
    assert_eq!(calls_much_later.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_a_crash_interrupted_is_handled_again() {
    let network = Network::start().await;
    let (_dir, file) = place();
    let mut message = original("acct_alice", "acct_bob", "m1", json!({"text": "hang"}));
    message["idempotency_key"] = "order 8".into();
    let mut receipts = network.listen(RECEIPTS).await;
    let (builder, calls) = bob(&network, &file);
    let node = builder.start().await.unwrap();
    network.publish(REDELIVERY, &message).await;
    next_status(&mut receipts, "accepted").await;
    until(|| calls.load(Ordering::SeqCst) == 1).await;
    drop(node);
    let (builder, calls) = bob(&network, &file);
    let _node = builder.start().await.unwrap();
    round_trip(&network.raw).await;
    network.publish(REDELIVERY, &message).await;
    until(|| calls.load(Ordering::SeqCst) == 1).await;
}
