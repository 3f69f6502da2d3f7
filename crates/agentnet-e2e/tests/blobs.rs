//! Files between agents, over the whole network, with services that die in the middle.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::{
    fs,
    future::IntoFuture as _,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use agentnet::{
    AgentNode, AgentNodeBuilder, BlobSource, ErrorKind,
    proto::{AccountId, BlobRef, ErrorCode, rpc::BlobInfo},
};
use serde_json::{Value, json};
use support::{SOON, Stack, until};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, ReadBuf},
    sync::mpsc,
    time::timeout,
};

/// Bytes that nowhere repeat.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[2]
        })
        .collect()
}

/// In signed mode an agent says who it is; in secure mode the network's support does.
fn node(stack: &Stack, name: &str) -> AgentNodeBuilder {
    let signed = stack.settings().contains(&("AGENTNET_SECURITY", "signed"));
    if signed { stack.node(name).identity(stack.identity(name)) } else { stack.node(name) }
}

async fn start(stack: &Stack, name: &str) -> AgentNode {
    node(stack, name).start().await.unwrap()
}

/// An agent, and the payloads it is sent.
async fn hearing(stack: &Stack, name: &str) -> (AgentNode, mpsc::UnboundedReceiver<Value>) {
    let (told, heard) = mpsc::unbounded_channel();
    let node = node(stack, name).on_message(move |message| {
        let told = told.clone();
        async move {
            let _ = told.send(serde_json::from_str(message.payload().get()).unwrap());
            Ok(())
        }
    });
    (node.start().await.unwrap(), heard)
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    timeout(SOON, heard.recv()).await.expect("nothing came").unwrap()
}

/// Gives bytes, and never more than a few at once.
struct Slow<'a>(&'a [u8]);

impl AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (now, rest) = self.0.split_at(self.0.len().min(buffer.remaining()).min(7001));
        buffer.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

async fn from_put_to_get(stack: Stack) {
    let alice = start(&stack, "alice").await;
    let (bob, mut heard) = hearing(&stack, "bob").await;
    let mallory = start(&stack, "mallory").await;
    let dir = tempfile::tempdir().unwrap();
    let data = content(3_000_001);
    let path = dir.path().join("notes of today.txt");
    fs::write(&path, &data).unwrap();

    let steps = Mutex::new(Vec::new());
    let blob =
        alice.put_blob(path.as_path()).progress(|at| steps.lock().unwrap().push(at.done)).await.unwrap();
    assert_eq!((blob.filename.as_str(), blob.mime_type.as_str()), ("notes of today.txt", "text/plain"));
    assert_eq!(steps.into_inner().unwrap().last(), Some(&blob.size_bytes));
    assert_eq!(alice.put_blob(data.clone()).name("notes of today.txt").await.unwrap().blob_id, blob.blob_id);
    // From a reader nobody knows the end of.
    let read =
        alice.put_blob(BlobSource::reader(Slow(&data))).name("r.bin").content_type("a/b").await.unwrap();
    assert_eq!((&read.sha256, read.size_bytes), (&blob.sha256, blob.size_bytes));

    let secure = stack.seeds.is_some();
    if secure {
        let error = bob.get_blob(&blob.blob_id).wait_for_leave(Duration::ZERO).bytes().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("blob_forbidden", ErrorKind::Auth));
        // A reference by somebody who can't read it isn't even sent.
        let error = mallory.send_blob_ref(bob.account_id(), blob.clone()).await.unwrap_err();
        assert_eq!(error.code(), "blob_forbidden");
    }
    alice.send_blob_ref(bob.account_id(), blob.clone()).thread("t").await.unwrap();
    let reference = BlobRef::of(&next(&mut heard).await).unwrap();
    assert_eq!((&reference.blob_id, &reference.sha256), (&blob.blob_id, &blob.sha256));
    assert_eq!(reference.storage, "nats_object_store");
    let kept = bob.get_blob(&reference.blob_id).into_dir(dir.path()).await.unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::InvalidArgument, "{kept}");
    let got = dir.path().join("got");
    fs::create_dir(&got).unwrap();
    let place = bob.get_blob(&reference.blob_id).into_dir(&got).await.unwrap();
    assert_eq!(place, got.join("notes of today.txt"));
    assert!(fs::read(&place).unwrap() == data);
    fs::write(&place, "old").unwrap();
    bob.get_blob(&reference.blob_id).overwrite().to_file(&place).await.unwrap();
    assert!(fs::read(&place).unwrap() == data);
    // Only the file is there: nothing half-written stays.
    assert_eq!(fs::read_dir(&got).unwrap().count(), 1);
    let range = bob.get_blob(&reference.blob_id).range(1_000_000, Some(1_500_000)).bytes().await.unwrap();
    assert!(range[..] == data[1_000_000..2_500_000]);
    let mut written = Vec::new();
    let info = bob.get_blob(&reference.blob_id).range(2_999_999, None).to_writer(&mut written).await.unwrap();
    assert_eq!((info.size_bytes, written.as_slice()), (blob.size_bytes, &data[2_999_999..]));
    let beyond = bob.get_blob(&reference.blob_id).range(4_000_000, None).bytes().await.unwrap_err();
    assert_eq!(beyond.code(), "blob_bad_range");
    if secure {
        let error = mallory.get_blob(&blob.blob_id).wait_for_leave(Duration::ZERO).bytes().await.unwrap_err();
        assert_eq!(error.code(), "blob_forbidden");
        assert_eq!(bob.blobs().delete(&blob.blob_id).await.unwrap_err().code(), "blob_forbidden");
    }
    let list = alice.blobs().list(None, None).await.unwrap();
    assert_eq!(list.blobs.iter().map(|b| &b.blob_id).collect::<Vec<_>>(), [&read.blob_id, &blob.blob_id]);
    assert_eq!(list.used_bytes, 2 * blob.size_bytes);
    assert!(alice.blobs().delete(&blob.blob_id).await.unwrap());
    assert!(!alice.blobs().delete(&blob.blob_id).await.unwrap());
    let gone = alice.blobs().head(&blob.blob_id).await.unwrap_err();
    assert_eq!((gone.code(), gone.kind()), ("blob_gone", ErrorKind::NotFound));
    if secure {
        collected(&stack).await;
    }
    for node in [alice, bob, mallory] {
        node.close().await.unwrap();
    }
}

/// The registry's permissions in NATS let it take away what was deleted, as if half a minute had passed.
async fn collected(stack: &Stack) {
    let pool = sqlx::PgPool::connect(stack.database_url()).await.unwrap();
    let aged = "UPDATE agent_blob_garbage SET since = now() - interval '1 hour'";
    assert_eq!(sqlx::query(aged).execute(&pool).await.unwrap().rows_affected(), 1);
    agentnet_local::testing::eventually(SOON, || async {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM agent_blob_garbage").fetch_one(&pool).await.unwrap();
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_put_to_get_in_open_mode() {
    from_put_to_get(Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_put_to_get_in_signed_mode() {
    from_put_to_get(Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_put_to_get_in_secure_mode() {
    from_put_to_get(Stack::secure(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_others_never_lead_out_of_the_directory() {
    let stack = Stack::start().await;
    let alice = start(&stack, "alice").await;
    for name in ["../../etc/passwd", "/etc/passwd", "..", "a\\b", "nul", "a\0"] {
        let error = alice.put_blob(b"x".to_vec()).name(name).await.unwrap_err();
        assert_eq!(error.code(), "blob_bad_name", "{name:?}");
    }
    // A file whose own name is unfit is made fit.
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a:b\\c.txt ");
    fs::write(&odd, "x").unwrap();
    assert_eq!(alice.put_blob(odd).await.unwrap().filename, "a_b_c.txt");
    // Even if the registry is made to give such a name.
    let blob = alice.put_blob(b"evil".to_vec()).name("evil").await.unwrap();
    let pool = sqlx::PgPool::connect(stack.database_url()).await.unwrap();
    sqlx::query("UPDATE agent_blobs SET filename = '../evil' WHERE filename = 'evil'")
        .execute(&pool)
        .await
        .unwrap();
    until_renamed(&alice, &blob).await;
    let (inner, error) = (dir.path().join("inner"), ErrorCode::BlobBadName);
    fs::create_dir(&inner).unwrap();
    let refused = alice.get_blob(&blob.blob_id).into_dir(&inner).await.unwrap_err();
    assert_eq!(refused.error_code(), Some(error));
    assert!(!dir.path().join("evil").exists());
    // A link in its place isn't followed.
    let target = dir.path().join("target");
    std::os::unix::fs::symlink(&target, inner.join("file")).unwrap();
    let refused = alice.get_blob(&blob.blob_id).to_file(inner.join("file")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    alice.get_blob(&blob.blob_id).overwrite().to_file(inner.join("file")).await.unwrap();
    assert!(!target.exists());
    assert_eq!(fs::read(inner.join("file")).unwrap(), b"evil");
}

async fn until_renamed(node: &AgentNode, blob: &BlobInfo) {
    agentnet_local::testing::eventually(SOON, || async {
        node.blobs().head(&blob.blob_id).await.unwrap().filename == "../evil"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_quotas_have_their_codes() {
    let stack = Stack::start_with(&[("AGENTNET_BLOB_QUOTA_BYTES", "350000000")]).await;
    let alice = start(&stack, "alice").await;
    let limit = 100 << 20;
    let whole = alice.put_blob(vec![1; limit]).await.unwrap();
    assert_eq!(whole.size_bytes, limit as u64);
    for source in [BlobSource::from(vec![2; limit + 1]), BlobSource::reader(tokio::io::repeat(3))] {
        let error = alice.put_blob(source).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("blob_too_large", ErrorKind::PayloadTooLarge));
    }
    // What was too large counts until its bytes are gone.
    alice.put_blob(vec![4; limit]).await.unwrap();
    assert_eq!(alice.put_blob(vec![5; limit]).await.unwrap_err().code(), "blob_quota_full");
    let empty = alice.put_blob(Vec::new()).await.unwrap();
    assert!(alice.get_blob(&empty.blob_id).bytes().await.unwrap().is_empty());
    assert!(alice.get_blob(&whole.blob_id).bytes().await.unwrap() == vec![1; limit]);
}

type Put = tokio::task::JoinHandle<Result<BlobInfo, agentnet::Error>>;

/// A put of what is fed to it, with how far it is.
fn fed(node: &AgentNode) -> (Arc<AtomicU64>, Put, tokio::io::DuplexStream) {
    let (node, done) = (node.clone(), Arc::new(AtomicU64::new(0)));
    let (feed, reader) = tokio::io::duplex(64 * 1024);
    let told = Arc::clone(&done);
    let put = tokio::spawn(async move {
        node.put_blob(BlobSource::reader(reader)).progress(|at| told.store(at.done, Ordering::SeqCst)).await
    });
    (done, put, feed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_goes_on_over_a_crash_of_postgres() {
    let stack = Stack::with_own_postgres().await;
    let alice = start(&stack, "alice").await;
    let data = content(6 << 20);
    let (done, put, mut feed) = fed(&alice);
    feed.write_all(&data[..4 << 20]).await.unwrap();
    until(|| done.load(Ordering::SeqCst) == 4 << 20).await;
    stack.crash_postgres();
    let restart = async { stack.restart_postgres() };
    let (fed, ()) = tokio::join!(feed.write_all(&data[4 << 20..]), restart);
    fed.unwrap();
    drop(feed);
    let blob = timeout(2 * SOON, put).await.unwrap().unwrap().unwrap();
    assert!(alice.get_blob(&blob.blob_id).bytes().await.unwrap() == data);
}

/// Gives some bytes, and then fails.
struct Broken(usize);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(std::io::Error::other("the disk is gone")));
        }
        let now = buffer.remaining().min(self.0);
        buffer.put_slice(&vec![7; now]);
        self.0 -= now;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_leaves_no_upload() {
    let stack = Stack::start().await;
    let alice = start(&stack, "alice").await;
    let error = alice.put_blob(BlobSource::reader(Broken(3 << 20))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File, "{error}");
    let pool = sqlx::PgPool::connect(stack.database_url()).await.unwrap();
    let uploads: i64 =
        sqlx::query_scalar("SELECT count(*) FROM agent_blob_uploads").fetch_one(&pool).await.unwrap();
    assert_eq!(uploads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_may_refer_to_a_blob() {
    let stack = Stack::secure(&[]).await;
    let alice = start(&stack, "alice").await;
    let mallory = start(&stack, "mallory").await;
    let (told, mut answered) = mpsc::unbounded_channel();
    let bob = node(&stack, "bob").on_message(move |message| {
        let told = told.clone();
        async move {
            let blob = message.payload().get().to_owned();
            let blob: BlobInfo = serde_json::from_str(&blob).unwrap();
            let _ = told.send(message.reply_blob_ref(blob).await.map(drop).map_err(|e| e.code().to_owned()));
            Ok(())
        }
    });
    let bob = bob.start().await.unwrap();
    let blob = bob.put_blob(b"the answer".to_vec()).name("answer.txt").await.unwrap();
    let reply = alice.request_account(bob.account_id(), &blob).await.unwrap();
    answered.recv().await.unwrap().unwrap();
    let reference = BlobRef::of(&serde_json::from_str(reply.payload().get()).unwrap()).unwrap();
    assert_eq!(alice.get_blob(&reference.blob_id).bytes().await.unwrap(), "the answer");
    let error = mallory.get_blob(&blob.blob_id).wait_for_leave(Duration::ZERO).bytes().await.unwrap_err();
    assert_eq!(error.code(), "blob_forbidden");
    // What bob can't read himself he can't answer with.
    let hidden = mallory.put_blob(b"hidden".to_vec()).await.unwrap();
    let request = alice.request_account(bob.account_id(), &hidden).timeout(Duration::from_secs(1));
    assert!(request.await.is_err());
    assert_eq!(answered.recv().await.unwrap(), Err("blob_forbidden".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_go_on_over_restarts_of_everything() {
    let stack = Stack::start().await;
    let alice = start(&stack, "alice").await;
    let (bob, mut heard) = hearing(&stack, "bob").await;
    let data = content(20 << 20);
    let (done, put, mut feed) = fed(&alice);
    feed.write_all(&data[..2 << 20]).await.unwrap();
    // What was read is sent although the reader has nothing more for now.
    until(|| done.load(Ordering::SeqCst) == 2 << 20).await;
    stack.stop_registry().await;
    let (fed, ()) = tokio::join!(feed.write_all(&data[2 << 20..4 << 20]), stack.start_registry());
    fed.unwrap();
    feed.write_all(&data[4 << 20..10 << 20]).await.unwrap();
    until(|| done.load(Ordering::SeqCst) == 10 << 20).await;
    stack.nats.kill();
    let restart = async { stack.nats.restart().unwrap() };
    let (fed, _) = tokio::join!(feed.write_all(&data[10 << 20..12 << 20]), restart);
    fed.unwrap();
    feed.write_all(&data[12 << 20..]).await.unwrap();
    drop(feed);
    let blob = timeout(SOON, put).await.unwrap().unwrap().unwrap();
    let restart = async {
        stack.stop_registry().await;
        stack.start_registry().await;
    };
    let (got, ()) = tokio::join!(alice.get_blob(&blob.blob_id).bytes(), restart);
    assert!(got.unwrap() == data);
    // A reference is sent although the registry is away at first.
    stack.stop_registry().await;
    let send = alice.send_blob_ref(bob.account_id(), blob.clone()).into_future();
    let (sent, ()) = tokio::join!(send, stack.start_registry());
    sent.unwrap();
    assert_eq!(BlobRef::of(&next(&mut heard).await).unwrap().blob_id, blob.blob_id);

    // Given up in the middle, and gone on with by another process, which only knows the upload.
    let (told, mut uploads) = mpsc::unbounded_channel();
    let other = content(12 << 20);
    let first = {
        let (alice, other) = (alice.clone(), other.clone());
        tokio::spawn(async move {
            let source = BlobSource::reader(std::io::Cursor::new(other));
            alice.put_blob(source).progress(|at| drop(told.send((at.done, at.upload_id)))).await
        })
    };
    let (at, upload_id) = loop {
        let (at, upload_id) = timeout(SOON, uploads.recv()).await.unwrap().unwrap();
        if at >= 2 << 20 {
            break (at, upload_id);
        }
    };
    first.abort();
    let seen = Mutex::new(Vec::new());
    let source = BlobSource::reader(other.as_slice());
    let resumed = alice
        .put_blob(source)
        .resume(upload_id.unwrap().to_string())
        .progress(|at| seen.lock().unwrap().push(at.done));
    let blob = resumed.await.unwrap();
    // What was there isn't sent again.
    let seen = seen.into_inner().unwrap();
    assert!(seen.first().is_none_or(|first| *first > at), "{at}: {seen:?}");
    assert!(seen.last().is_none_or(|last| *last == blob.size_bytes), "{seen:?}");
    assert!(alice.get_blob(&blob.blob_id).bytes().await.unwrap() == other);
    // Gone in the middle of nothing: it fails cleanly.
    let error = alice.put_blob(b"x".to_vec()).resume("upload_none").await;
    assert!(error.is_ok(), "bytes are put anew: {error:?}");
    let source = BlobSource::reader(&b"x"[..]);
    let error = alice.put_blob(source).resume("upload_none").await.unwrap_err();
    assert_eq!(error.code(), "blob_upload_unknown");
}

/// The client that a gateway makes without a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node() {
    let stack = Stack::start().await;
    let alice = start(&stack, "alice").await;
    let account = AccountId::new(alice.account_id()).unwrap();
    let blobs = stack.registry().blobs(Some(account));
    let meta = json!({"of": "today"}).as_object().unwrap().clone();
    let blob =
        blobs.put(b"abc".to_vec()).metadata(meta.clone()).expires_in(Duration::from_secs(60)).await.unwrap();
    assert_eq!((&blob.metadata, blob.account_id.as_str()), (&meta, alice.account_id()));
    assert_eq!(blobs.get(&blob.blob_id).bytes().await.unwrap(), "abc");
    let stranger = stack.registry().blobs(None).put(b"abc".to_vec()).await.unwrap_err();
    assert_eq!(stranger.code(), "account_id is required");
}
