//! Files: chunks in and out, over replicas and restarts; limits, quotas, expiry; who may read them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use std::time::Duration;

use agentnet_local::testing::eventually;
use agentnet_proto::blob::{frame, unframe};
use agentnet_proto::rpc::RpcMethod;
use agentnet_proto::signature::Purpose;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::secure::{Asking, secure, signed};
use support::{PATIENCE, Running, World, rows};
use tokio::io::AsyncReadExt as _;

const CHUNK: usize = 512 * 1024;
const NOW: &str = "2026-02-21T08:00:00Z";

fn hash(data: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(data))
}

/// Bytes that are the same in every run and nowhere repeat.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        })
        .collect()
}

async fn exchange(client: &Client, subject: String, headers: Option<HeaderMap>, body: Vec<u8>) -> Bytes {
    let request = client.request_with_headers(subject, headers.unwrap_or_default(), body.into());
    tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap().payload
}

/// Somebody who asks, on an open network or a secure one.
struct Peer<'a> {
    client: &'a Client,
    id: String,
    asking: Option<&'a Asking>,
}

impl<'a> Peer<'a> {
    async fn open(world: &'a World, name: &str) -> Self {
        let answer = world.register(json!({"agent_id": name})).await;
        Self { client: &world.client, id: answer["account_id"].as_str().unwrap().to_owned(), asking: None }
    }

    fn secure(asking: &'a Asking) -> Self {
        Self { client: &asking.client, id: asking.id.clone(), asking: Some(asking) }
    }

    async fn call(&self, method: &str, mut body: Value) -> Value {
        match self.asking {
            Some(asking) => asking.call(method, body).await,
            None => {
                body["account_id"] = json!(self.id);
                serde_json::from_slice(
                    &exchange(self.client, format!("registry.{method}"), None, body.to_string().into()).await,
                )
                .unwrap()
            }
        }
    }

    async fn error(&self, method: &str, body: Value) -> String {
        let answer = self.call(method, body).await;
        answer["error"].as_str().unwrap_or_else(|| panic!("no error in {answer}")).to_owned()
    }

    fn subject(&self, method: &str) -> String {
        match self.asking {
            Some(_) => format!("registry.{method}.{}", self.id),
            None => format!("registry.{method}"),
        }
    }

    async fn write(&self, upload: &str, offset: usize, data: &[u8]) -> Value {
        let body = frame(&json!({"upload_id": upload, "offset": offset}), data).unwrap();
        serde_json::from_slice(&exchange(self.client, self.subject("blob_write"), None, body).await).unwrap()
    }

    /// The bytes, or the error.
    async fn read(&self, blob: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, String> {
        let body = json!({"blob_id": blob, "offset": offset, "length": length}).to_string();
        let answer = exchange(self.client, self.subject("blob_read"), None, body.into()).await;
        let (head, data): (Value, &[u8]) = unframe(&answer).unwrap();
        match head["error"].as_str() {
            Some(code) => Err(code.to_owned()),
            None => Ok(data.to_vec()),
        }
    }

    async fn read_all(&self, blob: &str, size: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < size {
            all.extend(self.read(blob, all.len() as u64, None).await.unwrap());
        }
        all
    }

    async fn begin(&self, extra: Value) -> String {
        let answer = self.call("blob_begin", extra).await;
        answer["upload_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn commit(&self, upload: &str, data: &[u8]) -> Value {
        let body = json!({"upload_id": upload, "size_bytes": data.len(), "sha256": hash(data)});
        self.call("blob_commit", body).await
    }

    /// Puts a blob whole; its id.
    async fn put(&self, name: &str, data: &[u8]) -> String {
        let upload = self.begin(json!({"filename": name, "size_bytes": data.len()})).await;
        for (index, chunk) in data.chunks(CHUNK).enumerate() {
            let answer = self.write(&upload, index * CHUNK, chunk).await;
            assert_eq!(answer["position"], index * CHUNK + chunk.len(), "{answer}");
        }
        let answer = self.commit(&upload, data).await;
        answer["blob"]["blob_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// Messages in the bucket.
async fn stored(world: &World) -> u64 {
    let jetstream = async_nats::jetstream::new(world.client.clone());
    let stream = jetstream.get_stream("OBJ_agentnet_blobs").await.unwrap();
    stream.cached_info().state.messages
}

/// As if the time after which garbage is removed were over.
async fn swept(world: &World, registry: &Running) {
    let sql = "UPDATE agent_blob_garbage SET since = now() - interval '10 minutes'";
    sqlx::query(sql).execute(&world.pool).await.unwrap();
    eventually(PATIENCE, || async {
        registry.handle.collect().await;
        count(world, "SELECT count(*) FROM agent_blob_garbage").await == 0
    })
    .await;
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.pool).await.unwrap()
}

#[tokio::test]
async fn what_was_put_is_there_and_other_tools_read_it_too() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(2 * CHUNK + 1000);
    let blob = a.put("report.pdf", &data).await;
    let head = a.call("blob_head", json!({"blob_id": blob})).await;
    let head = &head["blob"];
    assert_eq!((&head["filename"], &head["size_bytes"]), (&json!("report.pdf"), &json!(data.len())));
    assert_eq!((&head["sha256"], &head["account_id"]), (&json!(hash(&data)), &json!(a.id)));
    assert_eq!(a.read_all(&blob, data.len()).await, data);
    // Ranges: within a chunk, over its end, at the end of all.
    assert_eq!(a.read(&blob, 10, Some(20)).await.unwrap(), data[10..30]);
    let over = CHUNK - 5;
    assert_eq!(a.read(&blob, over as u64, Some(100)).await.unwrap(), data[over..CHUNK]);
    let last = data.len() as u64 - 3;
    assert_eq!(a.read(&blob, last, Some(100)).await.unwrap(), data[data.len() - 3..]);
    for (offset, length) in [(data.len() as u64, None), (u64::MAX, None), (0, Some(0))] {
        assert_eq!(a.read(&blob, offset, length).await.unwrap_err(), "blob_bad_range", "{offset}");
    }
    // The documented format of the object store.
    let jetstream = async_nats::jetstream::new(world.client.clone());
    let store = jetstream.get_object_store("agentnet_blobs").await.unwrap();
    let mut object = store.get(&blob).await.unwrap();
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).await.unwrap();
    assert_eq!((bytes == data, object.info.size), (true, data.len()));

    let empty = a.put("", b"").await;
    assert_eq!(a.read(&empty, 0, None).await.unwrap(), b"");
    assert_eq!(a.read(&empty, 1, None).await.unwrap_err(), "blob_bad_range");
    let list = a.call("blob_list", json!({"limit": 1})).await;
    assert_eq!((&list["blobs"][0]["blob_id"], &list["used_bytes"]), (&json!(empty), &json!(data.len())));
    let list = a.call("blob_list", json!({"limit": 1, "cursor": list["next_cursor"]})).await;
    assert_eq!(list["blobs"][0]["blob_id"], json!(blob));
    let deleted = a.call("blob_delete", json!({"blob_id": blob})).await;
    assert_eq!(deleted["deleted"], true);
    assert_eq!(a.call("blob_delete", json!({"blob_id": blob})).await["deleted"], false);
    assert_eq!(a.read(&blob, 0, None).await.unwrap_err(), "blob_gone");
    assert_eq!(a.error("blob_head", json!({"blob_id": blob})).await, "blob_gone");
    registry.stop().await;
}

#[tokio::test]
async fn bad_input_has_a_code() {
    let world = World::new().await;
    let registry = world.registry(&[("AGENTNET_BLOB_MAX_BYTES", "1000000")]).await;
    let a = Peer::open(&world, "ann").await;
    for name in ["../../etc/passwd", "a/b", "..", "a\0b", "nul.txt", "a\u{202e}b"] {
        assert_eq!(a.error("blob_begin", json!({"filename": name})).await, "blob_bad_name", "{name:?}");
    }
    let (long, deep) = ("x".repeat(256), "y".repeat(5000));
    assert_eq!(a.error("blob_begin", json!({"filename": long})).await, "blob_bad_name");
    for (body, code) in [
        (json!({"mime_type": "text"}), "invalid_field"),
        (json!({"mime_type": "a/b\r\nX: y"}), "invalid_field"),
        (json!({"sha256": "abc"}), "invalid_field"),
        (json!({"metadata": {"a": deep}}), "invalid_field"),
        (json!({"size_bytes": 1_000_001}), "blob_too_large"),
        (json!({"size_bytes": -1}), "invalid_field"),
        (json!({"upload_id": "upload_none"}), "blob_upload_unknown"),
    ] {
        assert_eq!(a.error("blob_begin", body.clone()).await, code, "{body}");
    }
    assert_eq!(a.write("upload_none", 0, b"x").await["error"], "blob_upload_unknown");
    assert_eq!(a.commit("upload_none", b"x").await["error"], "blob_upload_unknown");
    assert_eq!(world.call_raw("blob_write", "no json").await["error"], "invalid_json");

    let upload = a.begin(json!({"size_bytes": CHUNK + 10})).await;
    let full = content(CHUNK);
    for (offset, data) in
        [(1, &full[..]), (0, &full[..10]), (0, &[][..]), (CHUNK, &full[..11]), (2 * CHUNK, &full[..1])]
    {
        let answer = a.write(&upload, offset, data).await;
        assert_eq!(answer["error"], "blob_bad_range", "{offset} {}", data.len());
    }
    assert_eq!(a.write(&upload, 0, &full).await["position"], CHUNK);
    // Something is missing still.
    assert_eq!(a.commit(&upload, &content(CHUNK + 10)).await["error"], "blob_bad_range");
    // Of unknown size: the limit holds while it comes.
    let upload = a.begin(json!({})).await;
    assert_eq!(a.write(&upload, 0, &full).await["position"], CHUNK);
    assert_eq!(a.write(&upload, CHUNK, &full).await["error"], "blob_too_large");
    // What came isn't what was told.
    let upload = a.begin(json!({})).await;
    a.write(&upload, 0, b"abc").await;
    assert_eq!(a.commit(&upload, b"abd").await["error"], "blob_altered");
    assert_eq!(a.commit(&upload, b"abc").await["error"], "blob_upload_unknown");
    registry.stop().await;
}

#[tokio::test]
async fn the_same_content_under_the_same_name_is_one_blob() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(CHUNK + 7);
    let known = json!({"filename": "f", "size_bytes": data.len(), "sha256": hash(&data)});
    // Both begin; they share the upload, and what one has sent the other needn't.
    let (one, two) = (a.begin(known.clone()).await, a.begin(known.clone()).await);
    assert_eq!(one, two);
    a.write(&one, 0, &data[..CHUNK]).await;
    assert_eq!(a.call("blob_begin", known.clone()).await["position"], CHUNK);
    a.write(&one, CHUNK, &data[CHUNK..]).await;
    let first = a.commit(&one, &data).await;
    assert_eq!(a.commit(&one, &data).await, first);
    let again = a.call("blob_begin", known).await;
    assert_eq!(again["blob"]["blob_id"], first["blob"]["blob_id"]);
    // Without a hash, the second is found out when it is finished.
    assert_eq!(a.put("f", &data).await, first["blob"]["blob_id"]);
    assert_ne!(a.put("g", &data).await, first["blob"]["blob_id"]);
    let b = Peer::open(&world, "bob").await;
    assert_ne!(b.put("f", &data).await, first["blob"]["blob_id"]);
    assert_eq!(count(&world, "SELECT count(*) FROM agent_blobs").await, 3);
    // Many at once.
    let puts: Vec<String> = futures_util::future::join_all((0..8).map(|_| a.put("many", &data))).await;
    assert!(puts.iter().all(|id| *id == puts[0]), "{puts:?}");
    assert_eq!(a.read_all(&puts[0], data.len()).await, data);
    registry.stop().await;
}

#[tokio::test]
async fn chunks_come_in_any_order_over_any_replica_and_after_restarts() {
    let world = World::new().await;
    let one = world.registry(&[]).await;
    let two = world.registry(&[("REGISTRY_SERVER_ID", "second")]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(6 * CHUNK + 100);
    let upload = a.begin(json!({"filename": "f", "size_bytes": data.len()})).await;
    // All under way at once, the last ones first, some twice.
    let order = [3, 2, 1, 0, 1, 3];
    let sent = order.map(|index| a.write(&upload, index * CHUNK, &data[index * CHUNK..(index + 1) * CHUNK]));
    futures_util::future::join_all(sent).await;
    // Whatever wasn't taken in time is sent again.
    let resume = json!({"upload_id": upload});
    let position = |answer: Value| usize::try_from(answer["position"].as_u64().unwrap()).unwrap();
    let mut at = position(a.call("blob_begin", resume.clone()).await);
    while at < 4 * CHUNK {
        at = position(a.write(&upload, at, &data[at..at + CHUNK]).await);
    }
    assert_eq!(at, 4 * CHUNK);
    one.kill();
    two.kill();
    let three = world.registry(&[]).await;
    assert_eq!(position(a.call("blob_begin", resume).await), 4 * CHUNK);
    // What was acknowledged and is sent again changes nothing.
    assert_eq!(position(a.write(&upload, CHUNK, &data[CHUNK..2 * CHUNK]).await), 4 * CHUNK);
    a.write(&upload, 4 * CHUNK, &data[4 * CHUNK..5 * CHUNK]).await;
    world.nats.restart().unwrap();
    eventually(PATIENCE, || async {
        // An answer may be lost with the server.
        let written = a.write(&upload, 5 * CHUNK, &data[5 * CHUNK..6 * CHUNK]);
        let answer = tokio::time::timeout(Duration::from_secs(2), written).await;
        answer.is_ok_and(|answer| answer["position"] == 6 * CHUNK)
    })
    .await;
    three.kill();
    let four = world.registry(&[]).await;
    a.write(&upload, 6 * CHUNK, &data[6 * CHUNK..]).await;
    four.kill();
    // A replica that never saw a chunk finishes it.
    let five = world.registry(&[]).await;
    let answer = a.commit(&upload, &data).await;
    let blob = answer["blob"]["blob_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    assert_eq!(a.read_all(&blob, data.len()).await, data);
    five.stop().await;
}

#[tokio::test]
async fn quotas_hold_before_and_while_it_comes() {
    let world = World::new().await;
    let limit = (3 * CHUNK).to_string();
    let settings = [("AGENTNET_BLOB_QUOTA_BYTES", limit.as_str()), ("AGENTNET_BLOB_QUOTA_FILES", "4")];
    let registry = world.registry(&settings).await;
    let (a, b) = (Peer::open(&world, "ann").await, Peer::open(&world, "bob").await);
    let data = content(CHUNK);
    let first = a.put("1", &data).await;
    assert_eq!(a.error("blob_begin", json!({"size_bytes": 2 * CHUNK + 1})).await, "blob_quota_full");
    // Set aside while it is under way, told or not.
    let upload = a.begin(json!({})).await;
    for index in 0..2 {
        assert_eq!(a.write(&upload, index * CHUNK, &data).await["position"], (index + 1) * CHUNK);
    }
    assert_eq!(a.write(&upload, 2 * CHUNK, &data).await["error"], "blob_quota_full");
    assert_eq!(a.error("blob_begin", json!({"size_bytes": 1})).await, "blob_quota_full");
    // What is given up is free once its bytes are gone.
    let given_up = b.begin(json!({"size_bytes": 3 * CHUNK})).await;
    assert_eq!(a.call("blob_delete", json!({"blob_id": given_up})).await["deleted"], false);
    assert_eq!(b.call("blob_delete", json!({"blob_id": given_up})).await["deleted"], true);
    assert_eq!(b.error("blob_begin", json!({"size_bytes": 1})).await, "blob_quota_full");
    a.call("blob_delete", json!({"blob_id": first})).await;
    assert_eq!(a.write(&upload, 2 * CHUNK, &data).await["error"], "blob_quota_full");
    assert_eq!(a.call("blob_list", json!({})).await["used_bytes"], json!(3 * CHUNK));
    swept(&world, &registry).await;
    // Another account's is its own.
    b.put("1", &data).await;
    assert_eq!(a.write(&upload, 2 * CHUNK, &data).await["position"], 3 * CHUNK);
    let whole = data.repeat(3);
    assert!(a.commit(&upload, &whole).await["blob"].is_object());
    for name in ["2", "3", "4"] {
        b.put(name, b"").await;
    }
    assert_eq!(b.error("blob_begin", json!({"size_bytes": 0})).await, "blob_quota_full");
    registry.stop().await;
}

#[tokio::test]
async fn what_is_over_or_left_behind_is_removed() {
    let world = World::new().await;
    let settings = [("AGENTNET_BLOB_UPLOAD_TTL_SECONDS", "30"), ("GC_INTERVAL_SECONDS", "3600")];
    let registry = world.registry(&settings).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(CHUNK + 1);
    let (kept, expired, deleted) =
        (a.put("kept", &data).await, a.put("old", &data).await, a.put("x", &data).await);
    let upload = a.begin(json!({"size_bytes": 2 * CHUNK})).await;
    a.write(&upload, 0, &data[..CHUNK]).await;
    assert_eq!(stored(&world).await, 3 * 3 + 1);
    a.call("blob_delete", json!({"blob_id": deleted})).await;
    // What was deleted a moment ago may still be written to.
    registry.handle.collect().await;
    assert_eq!(stored(&world).await, 3 * 3 + 1);
    for sql in [
        "UPDATE agent_blobs SET expires_at = now() - interval '1 second' WHERE filename = 'old'",
        "UPDATE agent_blob_uploads SET touched_at = now() - interval '1 minute'",
    ] {
        sqlx::query(sql).execute(&world.pool).await.unwrap();
    }
    assert_eq!(a.error("blob_head", json!({"blob_id": expired})).await, "blob_gone");
    // As the sweep of a replica that died in its middle: the row is gone, the bytes are there.
    eventually(PATIENCE, || async {
        registry.handle.collect().await;
        count(&world, "SELECT count(*) FROM agent_blob_garbage").await == 3
    })
    .await;
    swept(&world, &registry).await;
    assert_eq!(count(&world, "SELECT count(*) FROM agent_blob_uploads").await, 0);
    assert_eq!(stored(&world).await, 3);
    assert_eq!(a.write(&upload, CHUNK, &data[..CHUNK]).await["error"], "blob_upload_unknown");
    assert_eq!(stored(&world).await, 3);
    assert_eq!(a.read_all(&kept, data.len()).await, data);
    // The same content is put anew under the name of what expired.
    assert_ne!(a.put("old", &data).await, expired);
    registry.stop().await;
}

#[tokio::test]
async fn what_was_given_up_is_not_finished_from_memory() {
    let world = World::new().await;
    let registry = world.registry(&[("GC_INTERVAL_SECONDS", "3600")]).await;
    let a = Peer::open(&world, "ann").await;
    // Given up, and swept before it is finished.
    let data = content(CHUNK + 1);
    let upload = a.begin(json!({"size_bytes": data.len()})).await;
    a.write(&upload, 0, &data[..CHUNK]).await;
    a.write(&upload, CHUNK, &data[CHUNK..]).await;
    assert_eq!(a.call("blob_delete", json!({"blob_id": upload})).await["deleted"], true);
    swept(&world, &registry).await;
    assert_eq!(a.commit(&upload, &data).await["error"], "blob_upload_unknown");
    assert_eq!(stored(&world).await, 0);
    // Given up on another replica: this one remembers it still.
    let upload = a.begin(json!({})).await;
    assert_eq!(a.write(&upload, 0, &data[..CHUNK]).await["position"], CHUNK);
    let gone = "WITH gone AS (DELETE FROM agent_blob_uploads RETURNING *) INSERT INTO agent_blob_garbage \
        SELECT nuid, blob_id, account_id, reserved_bytes, now() FROM gone";
    sqlx::query(gone).execute(&world.pool).await.unwrap();
    // Nothing is added that no row counts.
    assert_eq!(a.write(&upload, CHUNK, &data[CHUNK..]).await["error"], "blob_upload_unknown");
    assert_eq!(stored(&world).await, 1);
    assert_eq!(a.commit(&upload, &data[..CHUNK]).await["error"], "blob_upload_unknown");
    swept(&world, &registry).await;
    // Given up and swept between the name and the row: the row's lock is held until then.
    let upload = a.begin(json!({"size_bytes": 3})).await;
    a.write(&upload, 0, b"abc").await;
    let mut tx = world.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('agentnet_blobs ' || $1, 0))")
        .bind(&a.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    let (committed, ()) = tokio::join!(a.commit(&upload, b"abc"), async {
        let named = || async { stored(&world).await == 2 };
        eventually(PATIENCE, named).await;
        sqlx::query("DELETE FROM agent_blob_uploads").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    });
    assert_eq!(committed["error"], "blob_upload_unknown");
    assert_eq!(stored(&world).await, 0);
    registry.stop().await;
}

#[tokio::test]
async fn files_leave_room_for_messages() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    a.put("1", b"1").await;
    let jetstream = async_nats::jetstream::new(world.client.clone());
    let bucket =
        async || jetstream.get_stream("OBJ_agentnet_blobs").await.unwrap().cached_info().config.max_bytes;
    assert!((64 << 20..=8 << 30).contains(&bucket().await), "{}", bucket().await);
    registry.stop().await;
    // More than there is: as much as there is room for.
    jetstream.delete_stream("OBJ_agentnet_blobs").await.unwrap();
    let registry = world.registry(&[("AGENTNET_BLOB_STORE_MAX_BYTES", "1000000000000000")]).await;
    a.put("2", b"2").await;
    assert!((64 << 20..1_000_000_000_000_000).contains(&bucket().await), "{}", bucket().await);
    registry.stop().await;
    // A full bucket has its code; what was put before is there, and what is removed makes room.
    jetstream.delete_stream("OBJ_agentnet_blobs").await.unwrap();
    let settings = [("AGENTNET_BLOB_STORE_MAX_BYTES", "1200000"), ("GC_INTERVAL_SECONDS", "3600")];
    let registry = world.registry(&settings).await;
    let data = content(2 * CHUNK);
    let first = a.put("3", &data).await;
    let upload = a.begin(json!({"size_bytes": 2 * CHUNK})).await;
    assert_eq!(a.write(&upload, 0, &data[..CHUNK]).await["error"], "blob_store_full");
    assert_eq!(a.read_all(&first, data.len()).await, data);
    a.call("blob_delete", json!({"blob_id": first})).await;
    swept(&world, &registry).await;
    assert_eq!(a.write(&upload, 0, &data[..CHUNK]).await["position"], CHUNK);
    registry.stop().await;
}

#[tokio::test]
async fn altered_bytes_are_never_given() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(3 * CHUNK);
    let blob = a.put("f", &data).await;
    let (nuid, seqs): (String, Vec<i64>) =
        sqlx::query_as("SELECT nuid, chunk_seqs FROM agent_blobs").fetch_one(&world.pool).await.unwrap();
    let jetstream = async_nats::jetstream::new(world.client.clone());
    let stream = jetstream.get_stream("OBJ_agentnet_blobs").await.unwrap();
    // One chunk is replaced, one is lost.
    let other =
        jetstream.publish(format!("$O.agentnet_blobs.C.{nuid}"), content(CHUNK - 1).into()).await.unwrap();
    let other = i64::try_from(other.await.unwrap().sequence).unwrap();
    sqlx::query("UPDATE agent_blobs SET chunk_seqs[2] = $1").bind(other).execute(&world.pool).await.unwrap();
    stream.delete_message(u64::try_from(seqs[2]).unwrap()).await.unwrap();
    assert_eq!(a.read(&blob, 0, None).await.unwrap(), data[..CHUNK]);
    eventually(PATIENCE, || async {
        a.read(&blob, CHUNK as u64, Some(1)).await == Err("blob_altered".to_owned())
    })
    .await;
    assert_eq!(a.read(&blob, 2 * CHUNK as u64, Some(1)).await.unwrap_err(), "blob_altered");
    registry.stop().await;
}

#[tokio::test]
async fn readers_of_a_message_that_refers_to_it_read_the_blob_and_nobody_else() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let mut all = Vec::new();
    for letter in ['a', 'b', 'c', 'm', 'p'] {
        all.push(Asking::new(&world, letter).await);
    }
    let peers: Vec<Peer<'_>> = all.iter().map(Peer::secure).collect();
    let [a, b, c, m, p] = &peers[..] else { unreachable!() };
    all[4].is_operator(&world).await;
    let blob = a.put("secret.txt", b"for some").await;
    let about = json!({"blob_id": blob});
    let forbidden = Err("blob_forbidden".to_owned());
    for other in [b, c, m] {
        assert_eq!(other.read(&blob, 0, None).await, forbidden);
        assert_eq!(other.error("blob_head", about.clone()).await, "blob_forbidden");
        assert_eq!(other.error("blob_delete", about.clone()).await, "blob_forbidden");
        assert_eq!(other.error("blob_list", json!({"account_id": a.id})).await, "forbidden");
    }
    assert_eq!(p.read(&blob, 0, None).await.unwrap(), b"for some");
    // Nobody goes on with another's upload, or says who he isn't.
    let upload = a.begin(json!({"size_bytes": 3})).await;
    assert_eq!(m.write(&upload, 0, b"abc").await["error"], "blob_upload_unknown");
    assert_eq!(m.error("blob_begin", json!({"upload_id": upload})).await, "blob_upload_unknown");
    assert_eq!(m.commit(&upload, b"").await["error"], "blob_upload_unknown");
    assert_eq!(m.error("blob_begin", json!({"account_id": a.id})).await, "forbidden");

    // m sends a reference that he found somewhere, by himself and through somebody who can't read it either.
    let message = |id: &'static str, from: String, to: String| {
        let pool = &world.pool;
        async move {
            let payload = json!({"type": "blob_ref", "blob_id": "x"});
            let extra = json!({"from_account_id": from, "to_account_id": to, "payload": payload});
            rows::message(pool, id, "t1", NOW, extra).await;
        }
    };
    rows::thread(&world.pool, "t1", &[&a.id, &b.id, &m.id], Some(NOW)).await;
    let share = |id: &str| json!({"blob_id": blob, "message_id": id});
    assert_eq!(m.error("blob_share", share("m1")).await, "blob_forbidden");
    message("m1", m.id.clone(), m.id.clone()).await;
    message("m2", m.id.clone(), c.id.clone()).await;
    assert_eq!(m.read(&blob, 0, None).await, forbidden);
    assert_eq!(c.read(&blob, 0, None).await, forbidden);
    // What is said of a message of somebody else's means nothing.
    assert!(a.call("blob_share", share("m2")).await["blob"].is_object());
    assert_eq!(c.read(&blob, 0, None).await, forbidden);

    // a refers to it in a message to b; leave comes with the message.
    assert_eq!(a.call("blob_share", share("m3")).await["blob"]["size_bytes"], 8);
    assert_eq!(b.read(&blob, 0, None).await, forbidden);
    message("m3", a.id.clone(), b.id.clone()).await;
    // A refusal is remembered for a moment.
    eventually(PATIENCE, || async { b.read(&blob, 4, None).await == Ok(b"some".to_vec()) }).await;
    assert_eq!(m.read(&blob, 0, None).await, forbidden);
    // b passes it on, but may not delete it.
    assert!(b.call("blob_share", share("m4")).await["blob"].is_object());
    message("m4", b.id.clone(), c.id.clone()).await;
    eventually(PATIENCE, || async { c.read(&blob, 0, None).await == Ok(b"for some".to_vec()) }).await;
    assert_eq!(b.error("blob_delete", about.clone()).await, "blob_forbidden");
    assert_eq!(p.call("blob_delete", about).await["deleted"], true);
    for reader in [a, b, c, m] {
        eventually(PATIENCE, || async { reader.read(&blob, 0, None).await == Err("blob_gone".to_owned()) })
            .await;
    }
    registry.stop().await;
}

#[tokio::test]
async fn in_threads_with_members_members_read() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let mut all = Vec::new();
    for letter in ['a', 'b', 'c', 'm'] {
        all.push(Asking::new(&world, letter).await);
    }
    let peers: Vec<Peer<'_>> = all.iter().map(Peer::secure).collect();
    let [a, b, c, m] = &peers[..] else { unreachable!() };
    a.call("thread_create", json!({"thread_id": "t", "invite": [b.id, c.id]})).await;
    for member in [b, c] {
        member.call("thread_join", json!({"thread_id": "t"})).await;
    }
    let blob = a.put("plan", b"the plan").await;
    a.call("blob_share", json!({"blob_id": blob, "message_id": "m1"})).await;
    let extra = json!({"from_account_id": a.id, "to_account_id": null, "to_agent": "thread:t"});
    rows::message(&world.pool, "m1", "t", NOW, extra).await;
    assert_eq!(b.read(&blob, 0, None).await.unwrap(), b"the plan");
    assert_eq!(m.read(&blob, 0, None).await.unwrap_err(), "blob_forbidden");
    a.call("thread_eject", json!({"thread_id": "t", "eject": [c.id]})).await;
    assert_eq!(c.read(&blob, 0, None).await.unwrap_err(), "blob_forbidden");
    // Who is put out loses it within seconds, and can't pass it on at all.
    a.call("thread_eject", json!({"thread_id": "t", "eject": [b.id]})).await;
    assert_eq!(b.error("blob_share", json!({"blob_id": blob, "message_id": "m2"})).await, "blob_forbidden");
    eventually(PATIENCE, || async { b.read(&blob, 0, None).await.is_err() }).await;
    registry.stop().await;
}

#[tokio::test]
async fn whoever_was_given_a_message_for_a_capability_reads_among_many_threads() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (ann, ben) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    let (a, b) = (Peer::secure(&ann), Peer::secure(&ben));
    let blob = a.put("job", b"the job").await;
    // The oldest of many threads is the one that b was given a message in.
    for number in 0..80 {
        let (message, thread) = (format!("m{number}"), format!("t{number}"));
        a.call("blob_share", json!({"blob_id": blob, "message_id": message})).await;
        rows::thread(&world.pool, &thread, &[&a.id], Some(NOW)).await;
        let extra = json!({"from_account_id": a.id, "to_account_id": null, "to_agent": "capability:work"});
        rows::message(&world.pool, &message, &thread, NOW, extra).await;
    }
    sqlx::query(
        "UPDATE agent_messages SET received_at = received_at - interval '1 day' WHERE message_id = 'm0'",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    assert_eq!(b.read(&blob, 0, None).await.unwrap_err(), "blob_forbidden");
    sqlx::query(
        "INSERT INTO agent_deliveries (message_id, recipient, state, sender_account_id, handler_account_id, thread_id, \
         created_at) VALUES ('m0', 'capability:work', 'accepted', $1, $2, 't0', now())",
    )
    .bind(&a.id)
    .bind(&b.id)
    .execute(&world.pool)
    .await
    .unwrap();
    eventually(PATIENCE, || async { b.read(&blob, 0, None).await == Ok(b"the job".to_vec()) }).await;
    registry.stop().await;
}

#[tokio::test]
async fn chunks_far_ahead_do_not_wait() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(CHUNK);
    let upload = a.begin(json!({"size_bytes": 100 * CHUNK})).await;
    // The ninth may be under way beside the first, the tenth isn't.
    let (near, far) = (a.write(&upload, 8 * CHUNK, &data), a.write(&upload, 9 * CHUNK, &data));
    tokio::select! {
        answer = near => panic!("{answer}"),
        answer = far => assert_eq!(answer["position"], 0),
    }
    // Nor do more of them at once than a client has under way: of these one is answered before the others, which wait
    // for 1.2 s.
    let began = tokio::time::Instant::now();
    let waiting = (0..9).map(|_| async {
        let answer = a.write(&upload, CHUNK, &data).await;
        (answer["position"].clone(), began.elapsed())
    });
    let answers = futures_util::future::join_all(waiting).await;
    assert!(answers.iter().all(|(position, _)| *position == 0), "{answers:?}");
    assert!(answers.iter().any(|(_, took)| *took < Duration::from_millis(1100)), "{answers:?}");
    assert_eq!(a.write(&upload, 0, &data).await["position"], CHUNK);
    registry.stop().await;
}

#[tokio::test]
async fn what_the_bucket_lost_is_put_anew() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = Peer::open(&world, "ann").await;
    let data = content(CHUNK + 5);
    let known = json!({"filename": "f", "size_bytes": data.len(), "sha256": hash(&data)});
    let lost = a.put("f", &data).await;
    assert_eq!(a.call("blob_begin", known.clone()).await["blob"]["blob_id"], json!(lost));
    // As a bucket that was restored from an older copy.
    let jetstream = async_nats::jetstream::new(world.client.clone());
    jetstream.get_stream("OBJ_agentnet_blobs").await.unwrap().purge().await.unwrap();
    let upload = a.begin(known).await;
    for (index, chunk) in data.chunks(CHUNK).enumerate() {
        a.write(&upload, index * CHUNK, chunk).await;
    }
    let blob = a.commit(&upload, &data).await["blob"]["blob_id"].as_str().unwrap().to_owned();
    assert_ne!(blob, lost);
    assert_eq!(a.read_all(&blob, data.len()).await, data);
    assert_eq!(a.error("blob_head", json!({"blob_id": lost})).await, "blob_gone");
    registry.stop().await;
}

#[tokio::test]
async fn in_signed_mode_chunks_are_signed() {
    let world = World::new().await;
    let secure = world.registry(&secure()).await;
    let a = Asking::new(&world, 'a').await;
    secure.stop().await;
    let registry = world.registry(&[("AGENTNET_SECURITY", "signed"), ("AGENTNET_DEPLOYMENT", "test")]).await;
    let sign = |method: RpcMethod, body: &[u8]| signed(&a.key, body, |nonce| Purpose::Rpc { method, nonce });
    let ask = |method: RpcMethod, body: Vec<u8>| {
        let headers = sign(method, &body);
        exchange(&world.client, format!("registry.{method}"), Some(headers), body)
    };
    let begun = ask(RpcMethod::BlobBegin, json!({"size_bytes": 3}).to_string().into()).await;
    let begun: Value = serde_json::from_slice(&begun).unwrap();
    let body = frame(&json!({"upload_id": begun["upload_id"], "offset": 0}), b"abc").unwrap();
    let plain = exchange(&world.client, "registry.blob_write".to_owned(), None, body.clone()).await;
    assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap()["error"], "auth_required");
    let mut altered = body.clone();
    *altered.last_mut().unwrap() = b'X';
    let headers = sign(RpcMethod::BlobWrite, &body);
    let forged = exchange(&world.client, "registry.blob_write".to_owned(), Some(headers), altered).await;
    assert_eq!(serde_json::from_slice::<Value>(&forged).unwrap()["error"], "auth_signature_invalid");
    let written: Value = serde_json::from_slice(&ask(RpcMethod::BlobWrite, body).await).unwrap();
    assert_eq!(written["position"], 3);
    let commit = json!({"upload_id": begun["upload_id"], "size_bytes": 3, "sha256": hash(b"abc")});
    let blob: Value =
        serde_json::from_slice(&ask(RpcMethod::BlobCommit, commit.to_string().into()).await).unwrap();
    let blob = &blob["blob"]["blob_id"];
    let read = json!({"blob_id": blob}).to_string();
    let stranger = exchange(&world.client, "registry.blob_read".to_owned(), None, read.clone().into()).await;
    assert_eq!(serde_json::from_slice::<Value>(&stranger).unwrap()["error"], "blob_forbidden");
    let own = ask(RpcMethod::BlobRead, read.into()).await;
    assert!(own.ends_with(b"\nabc"), "{own:?}");
    registry.stop().await;
}
