//! Rows of blobs: nothing is counted twice or forgotten, and every object has a row at any time.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use agentnet_local::testing::TestDb;
use agentnet_proto::Timestamp;
use agentnet_store::blobs::{self, Begun, Committed, Finished, Limits, NewUpload, Reserved, Upload};
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
    assert_eq!(blobs::used(&pool, "ann").await.unwrap().bytes, 800);
    // What is finished counts with its own size.
    commit(&pool, &begun[0].upload_id, [1; 32]).await;
    assert_eq!(blobs::used(&pool, "ann").await.unwrap().bytes, 405);
    assert_eq!(garbage(&pool).await, ["open"]);
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
    // References: those whose message came stay, the others go after a day.
    let blob = id_of(commit(&pool, "alive", [1; 32]).await);
    for message in ["came", "never"] {
        assert_eq!(blobs::share(&pool, &blob, message, "ann").await.unwrap(), blobs::Shared::Yes);
    }
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, from_account_id, to_agent, kind, sent_at, received_at, envelope, \
         body_sha256) VALUES ('came', 't', 'ann', 'bob', 'direct', now(), now(), '', '')",
    )
    .execute(&pool)
    .await
    .unwrap();
    blobs::prune_shares(&pool).await.unwrap();
    let left = async || -> Vec<String> {
        sqlx::query_scalar("SELECT message_id FROM agent_blob_shares ORDER BY 1")
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    assert_eq!(left().await, ["came", "never"]);
    sqlx::query("UPDATE agent_blob_shares SET checked_at = now() - interval '2 days'")
        .execute(&pool)
        .await
        .unwrap();
    blobs::prune_shares(&pool).await.unwrap();
    assert_eq!(left().await, ["came"]);
    assert_eq!(blobs::share(&pool, "blob_none", "m", "ann").await.unwrap(), blobs::Shared::Gone);
    assert!(blobs::delete(&pool, &blob).await.unwrap());
    assert_eq!(left().await, Vec::<String>::new());
}
