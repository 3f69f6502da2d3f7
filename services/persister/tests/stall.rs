//! Stream and consumer that came back apart, as a full disk or a power cut leaves them. The files are a real server's.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use agentnet_local::testing::eventually;
use async_nats::jetstream;
use support::{LIMIT, Net, message};
use tempfile::TempDir;

/// Where the server keeps the stream's messages; its consumers are elsewhere.
fn messages(net: &Net) -> PathBuf {
    fn find(dir: &Path) -> Option<PathBuf> {
        if dir.ends_with("AGENTNET/msgs") {
            return Some(dir.to_owned());
        }
        let inside = fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        inside.filter(|path| path.is_dir()).find_map(|path| find(&path))
    }
    find(net.nats.dir()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Starts the server again, and waits until our connection is back.
async fn restart(net: &Net) {
    net.nats.restart().unwrap();
    eventually(LIMIT, || standing(net)).await;
}

/// Stops the server, keeps a copy of the stream's messages, and starts it again.
async fn keep(net: &Net) -> TempDir {
    let kept = tempfile::tempdir().unwrap();
    net.nats.stop();
    copy(&messages(net), kept.path());
    restart(net).await;
    kept
}

/// Gives the server back what the stream held then. The consumer knows what has happened since.
async fn give_back(net: &Net, kept: &TempDir) {
    net.nats.stop();
    let dir = messages(net);
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    copy(kept.path(), &dir);
    restart(net).await;
}

/// The stream's last message, how far the consumer is, and how much it thinks is to come.
async fn standing(net: &Net) -> Option<(u64, u64, u64)> {
    let mut context = jetstream::new(net.client.clone());
    context.set_timeout(Duration::from_millis(500));
    let stream = context.get_stream("AGENTNET").await.ok()?;
    let last = stream.cached_info().state.last_sequence;
    let consumer = stream.consumer_info("persister").await;
    Some(consumer.map_or((last, 0, 0), |c| (last, c.ack_floor.stream_sequence, c.num_pending)))
}

/// Waits until the stream holds so many: the server takes a message before the stream has it.
async fn holds(net: &Net, messages: u64) {
    eventually(LIMIT, || async { net.in_stream().await == messages }).await;
}

async fn store(net: &Net, ids: &[&str]) {
    let persister = net.persister().await;
    for id in ids {
        net.notices.wait_stored("alice", id, 1).await;
    }
    net.drained().await;
    persister.stop().await;
}

#[tokio::test]
async fn messages_that_were_acknowledged_and_came_back_leave_again() {
    let net = Net::start().await;
    net.stream().await;
    let ids = ["m1", "m2", "m3"];
    for id in ids {
        net.send(&message(id)).await;
    }
    holds(&net, 3).await;
    let kept = keep(&net).await;
    store(&net, &ids).await;
    give_back(&net, &kept).await;
    assert_eq!(net.in_stream().await, 3);
    assert_eq!(standing(&net).await.unwrap(), (3, 3, 0), "the server sets nothing right by itself");
    let persister = net.persister().await;
    net.drained().await;
    assert_eq!((persister.counters().messages, persister.counters().repeated), (0, 3));
    // And what comes then is stored as ever.
    net.send(&message("m4")).await;
    net.notices.wait_stored("alice", "m4", 1).await;
    persister.stop().await;
}

#[tokio::test]
async fn messages_that_take_the_place_of_a_lost_end_are_stored() {
    let net = Net::start().await;
    net.stream().await;
    net.send(&message("m1")).await;
    holds(&net, 1).await;
    let kept = keep(&net).await;
    for id in ["m2", "m3", "m4"] {
        net.send(&message(id)).await;
    }
    store(&net, &["m1", "m2", "m3", "m4"]).await;
    give_back(&net, &kept).await;
    let persister = net.persister().await;
    net.send(&message("m5")).await;
    net.notices.wait_stored("alice", "m5", 1).await;
    net.drained().await;
    persister.stop().await;
}
