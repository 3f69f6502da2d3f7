//! Rows of blobs: nothing is counted twice or forgotten, and every object has a row at any time.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use agentnet_local::testing::{TestDb, eventually};
use agentnet_proto::Timestamp;
use agentnet_store::blobs::{
    self, Begun, Committed, Finished, Limits, NewUpload, Reserved, Shared, Upload, Used,
};
use agentnet_store::{Store, StoreConfig};
use serde_json::Map;
use sqlx::PgPool;

const LIMITS: Limits = Limits { bytes: 1000, files: 10, uploads: 3 };

async fn database() -> (TestDb, PgPool) {
    let db = TestDb::create_from("store_blobs", |url| async move {
        Store::migrate(&StoreConfig::new(url.into(), "test")).await
    })
    .await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(8).connect(db.url()).await.unwrap();
    (db, pool)
}

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_771_660_800_000).unwrap()
}

async fn begin(pool: &PgPool, id: &str, size: Option<u64>, sha256: Option<&[u8]>) -> Begun {
    let (blob_id, metadata) = (format!("blob_{id}"), Map::new());
    let new = NewUpload {
        upload_id: id,
        blob_id: &blob_id,
        nuid: id,
        account_id: "ann",
        filename: "f",
        mime_type: "a/b",
        size_bytes: size,
        sha256,
        chunk_size: 10,
        metadata: &metadata,
        keep_seconds: 60,
    };
    let mut tx = pool.begin().await.unwrap();
    let begun = blobs::begin(&mut tx, &new, &LIMITS).await.unwrap();
    tx.commit().await.unwrap();
    begun
}

async fn upload(pool: &PgPool, id: &str, size: Option<u64>, sha256: Option<&[u8]>) -> Upload {
    match begin(pool, id, size, sha256).await {
        Begun::Upload(upload) => *upload,
        other => panic!("{other:?}"),
    }
}

async fn commit(pool: &PgPool, id: &str, sha256: [u8; 32]) -> Committed {
    let finished = Finished { size_bytes: 5, sha256: &sha256, chunk_seqs: &[7], chunk_sha256: &sha256 };
    let mut tx = pool.begin().await.unwrap();
    let committed = blobs::commit(&mut tx, id, "ann", &finished, now()).await.unwrap();
    tx.commit().await.unwrap();
    committed
}

fn id_of(committed: Committed) -> String {
    match committed {
        Committed::Blob(blob) => blob.blob_id,
        Committed::Unknown => panic!("unknown"),
    }
}

async fn garbage(pool: &PgPool) -> Vec<String> {
    let rows = blobs::garbage(pool, Duration::ZERO, 100).await.unwrap();
    let mut nuids: Vec<String> = rows.into_iter().map(|row| row.nuid).collect();
    nuids.sort();
    nuids
}

#[tokio::test]
async fn an_upload_becomes_one_blob() {
    let (_db, pool) = database().await;
    upload(&pool, "u1", None, None).await;
    let first = commit(&pool, "u1", [1; 32]).await;
    assert_eq!(commit(&pool, "u1", [1; 32]).await, first);
    assert_eq!(commit(&pool, "none", [1; 32]).await, Committed::Unknown);
    assert!(blobs::upload(&pool, "u1").await.unwrap().is_none());
    let (blob, chunks) = blobs::find(&pool, "blob_u1").await.unwrap().unwrap();
    assert_eq!((blob.size_bytes, chunks.get(0).unwrap()), (5, (7, &[1_u8; 32][..])));
    assert!(chunks.get(1).is_none());
    // The same content again, known and unknown.
    assert!(matches!(begin(&pool, "u2", Some(5), Some(&[1; 32])).await, Begun::Exists(_)));
    upload(&pool, "u3", Some(5), None).await;
    assert_eq!(id_of(commit(&pool, "u3", [1; 32]).await), "blob_u1");
    assert_eq!(garbage(&pool).await, ["u3"]);
    // What has expired is nobody's content any more.
    sqlx::query("UPDATE agent_blobs SET expires_at = now()").execute(&pool).await.unwrap();
    assert!(blobs::find(&pool, "blob_u1").await.unwrap().is_none());
    upload(&pool, "u4", Some(5), Some(&[1; 32])).await;
    assert_eq!(id_of(commit(&pool, "u4", [1; 32]).await), "blob_u4");
    assert_eq!(garbage(&pool).await, ["u1", "u3"]);
    assert!(blobs::delete(&pool, "blob_u4").await.unwrap());
    assert!(!blobs::delete(&pool, "blob_u4").await.unwrap());
    assert_eq!(garbage(&pool).await, ["u1", "u3", "u4"]);
    blobs::collected(&pool, "u3").await.unwrap();
    assert_eq!(garbage(&pool).await, ["u1", "u4"]);
}

#[tokio::test]
async fn quotas_hold_whoever_asks_at_once() {
    let (_db, pool) = database().await;
    // Ten at once, of which two fit.
    let ids: Vec<String> = (0..10).map(|n| format!("u{n}")).collect();
    let all = futures_util::future::join_all(ids.iter().map(|id| begin(&pool, id, Some(400), None))).await;
    let begun: Vec<Upload> = all
        .into_iter()
        .filter_map(|begun| match begun {
            Begun::Upload(upload) => Some(*upload),
            _ => None,
        })
        .collect();
    assert_eq!(begun.len(), 2);
    // One whose size nobody told takes what is left, and then no more.
    let open = upload(&pool, "open", None, None).await;
    let reserve = async |bytes| {
        let mut tx = pool.begin().await.unwrap();
        let reserved = blobs::reserve(&mut tx, &open, bytes, &LIMITS).await.unwrap();
        tx.commit().await.unwrap();
        reserved
    };
    assert_eq!(reserve(200).await, Reserved::Yes);
    assert_eq!(reserve(150).await, Reserved::Yes);
    assert!(matches!(reserve(201).await, Reserved::Full(used) if used.bytes == 1000));
    // Three uploads at once, whatever their size.
    assert!(matches!(begin(&pool, "more", Some(0), None).await, Begun::Full(used) if used.uploads == 3));
    assert!(blobs::abandon(&pool, "open").await.unwrap());
    assert_eq!(reserve(1).await, Reserved::Unknown);
    // What was given up counts until its bytes are gone.
    assert_eq!(blobs::used(&pool, "ann").await.unwrap().bytes, 1000);
    blobs::collected(&pool, "open").await.unwrap();
    assert_eq!(blobs::used(&pool, "ann").await.unwrap().bytes, 800);
    // What is finished counts with its own size, and goes on to after it was deleted or expired.
    commit(&pool, &begun[0].upload_id, [1; 32]).await;
    let used = Used { bytes: 405, files: 2, uploads: 1 };
    assert_eq!(blobs::used(&pool, "ann").await.unwrap(), used);
    assert!(blobs::delete(&pool, &format!("blob_{}", begun[0].upload_id)).await.unwrap());
    assert_eq!(blobs::used(&pool, "ann").await.unwrap(), used);
    commit(&pool, &begun[1].upload_id, [2; 32]).await;
    run(&pool, "UPDATE agent_blobs SET expires_at = now()").await;
    assert_eq!(blobs::expire(&pool).await.unwrap(), 1);
    assert_eq!(blobs::used(&pool, "ann").await.unwrap(), Used { bytes: 10, files: 2, uploads: 0 });
}

#[tokio::test]
async fn what_nobody_goes_on_with_ends() {
    let (_db, pool) = database().await;
    let hour = Duration::from_secs(3600);
    upload(&pool, "quiet", None, None).await;
    upload(&pool, "alive", None, None).await;
    sqlx::query("UPDATE agent_blob_uploads SET touched_at = now() - interval '2 hours'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(blobs::touch(&pool, "alive").await.unwrap());
    assert_eq!(blobs::expire_uploads(&pool, hour).await.unwrap(), 1);
    assert!(!blobs::touch(&pool, "quiet").await.unwrap());
    assert_eq!(garbage(&pool).await, ["quiet"]);
    assert_eq!(commit(&pool, "quiet", [1; 32]).await, Committed::Unknown);
    assert!(blobs::resume(&pool, "alive", "bob").await.unwrap().is_none());
    assert!(blobs::resume(&pool, "alive", "ann").await.unwrap().is_some());
    // A blob goes with its references.
    let blob = id_of(commit(&pool, "alive", [1; 32]).await);
    assert_eq!(blobs::share(&pool, &blob, "m", "ann").await.unwrap(), Shared::Yes);
    assert_eq!(blobs::share(&pool, "blob_none", "m", "ann").await.unwrap(), Shared::Gone);
    assert!(blobs::delete(&pool, &blob).await.unwrap());
    assert_eq!(references(&pool).await, Vec::<String>::new());
}

async fn references(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT message_id FROM agent_blob_shares ORDER BY 1").fetch_all(pool).await.unwrap()
}

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

async fn message(pool: &PgPool, id: &str) {
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, from_account_id, to_agent, kind, sent_at, received_at, envelope, \
         body_sha256) VALUES ($1, 't', 'ann', 'bob', 'direct', now(), now(), '', '')",
    )
    .bind(id)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn references_stay_as_long_as_their_message_may_come_or_is_there() {
    let (_db, pool) = database().await;
    upload(&pool, "u", None, None).await;
    let blob = id_of(commit(&pool, "u", [1; 32]).await);
    for message in ["came", "late", "never"] {
        assert_eq!(blobs::share(&pool, &blob, message, "ann").await.unwrap(), Shared::Yes);
    }
    message(&pool, "came").await;
    assert_eq!(blobs::prune_shares(&pool).await.unwrap(), 0);
    // Messages live for 30 days at most, and may be stored at the end of them.
    run(&pool, "UPDATE agent_blob_shares SET check_at = now(), shared_at = now() - interval '30 days'").await;
    assert_eq!(blobs::prune_shares(&pool).await.unwrap(), 3);
    assert_eq!(references(&pool).await, ["came", "late", "never"]);
    assert_eq!(blobs::prune_shares(&pool).await.unwrap(), 0);
    // Said again, it is waited for anew.
    assert_eq!(blobs::share(&pool, &blob, "late", "ann").await.unwrap(), Shared::Yes);
    run(&pool, "UPDATE agent_blob_shares SET check_at = now(), shared_at = shared_at - interval '2 days'")
        .await;
    assert_eq!(blobs::prune_shares(&pool).await.unwrap(), 3);
    assert_eq!(references(&pool).await, ["came", "late"]);
    // What was there and is pruned doesn't come again.
    run(&pool, "DELETE FROM agent_messages").await;
    run(&pool, "UPDATE agent_blob_shares SET check_at = now()").await;
    assert_eq!(blobs::prune_shares(&pool).await.unwrap(), 2);
    assert_eq!(references(&pool).await, ["late"]);
}

#[tokio::test]
async fn references_to_messages_that_never_come_are_bounded() {
    let (_db, pool) = database().await;
    upload(&pool, "u", None, None).await;
    let blob = id_of(commit(&pool, "u", [1; 32]).await);
    // Over many blobs, since one takes 1,024 references only.
    run(
        &pool,
        "INSERT INTO agent_blobs SELECT 'blob_' || n, account_id, 'up_' || n, 'nuid_' || n, 'f' || n, mime_type, size_bytes, \
         sha256, chunk_size, chunk_seqs, chunk_sha256, metadata, created_at, expires_at \
         FROM agent_blobs, generate_series(1, 10) n",
    )
    .await;
    run(
        &pool,
        "INSERT INTO agent_blob_shares (blob_id, message_id, account_id, shared_at, check_at) \
         SELECT 'blob_' || n, 'm' || m, 'ann', now(), now() FROM generate_series(1, 10) n, generate_series(1, 1000) m",
    )
    .await;
    assert_eq!(blobs::share(&pool, &blob, "more", "ann").await.unwrap(), Shared::TooManyWaiting);
    assert_eq!(blobs::share(&pool, &blob, "other", "bob").await.unwrap(), Shared::Yes);
    // A message that came makes room at once.
    message(&pool, "m7").await;
    assert_eq!(blobs::share(&pool, &blob, "more", "ann").await.unwrap(), Shared::Yes);
    // Every round is told how much there was, so that it goes on: 500 rows a step.
    let mut steps = 0;
    while blobs::prune_shares(&pool).await.unwrap() == 500 {
        steps += 1;
    }
    assert_eq!(steps, 19, "9,990 rows wait");
}

#[tokio::test]
async fn an_upload_that_is_given_up_as_it_ends_leaves_no_blob_without_bytes() {
    let (_db, pool) = database().await;
    upload(&pool, "u", Some(5), None).await;
    let mut tx = pool.begin().await.unwrap();
    assert!(blobs::abandon(&mut *tx, "u").await.unwrap());
    let committed = tokio::spawn({
        let pool = pool.clone();
        async move { commit(&pool, "u", [1; 32]).await }
    });
    eventually(Duration::from_secs(10), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        waiting == 1
    })
    .await;
    tx.commit().await.unwrap();
    assert_eq!(committed.await.unwrap(), Committed::Unknown);
    let blobs: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_blobs").fetch_one(&pool).await.unwrap();
    assert_eq!((blobs, garbage(&pool).await), (0, vec!["u".to_owned()]));
}
