//! A text finds every thread whose id holds it, in any case, whichever index serves it.

use agentnet_local::testing::TestDb;
use agentnet_store::access::Reader;
use agentnet_store::threads::{self, ThreadFilter};
use agentnet_store::{Store, StoreConfig, StoreError};

const MADE: [&str; 2] =
    ["thread_0123456789abcdef0123456789abcdef", "thread_ffffffffffffffffffffffffffffffff"];
const NAMED: [&str; 6] = [
    "weekly",
    "Weekly-Report",
    "thread_weekly",
    "Thread_0123456789ABCDEF0123456789abcdef",
    "thread_0123456789abcdef0123456789abcdef-x",
    "a%b_c",
];
const QUERIES: [&str; 18] = [
    "weekly",
    "WEEKLY",
    "report",
    "thread",
    "thread_",
    "d_",
    "0123",
    "CDEF",
    "ffff",
    "_w",
    "%",
    "b_c",
    "nothing",
    "-x",
    "9abcdef0123456789abcdef",
    MADE[0],
    MADE[1],
    NAMED[4],
];

async fn prepare(url: String) -> Result<(), StoreError> {
    Store::migrate(&StoreConfig::new(url.into(), "test")).await
}

#[tokio::test]
async fn texts_find_made_and_named_ids() {
    let db = TestDb::create_from("migrated_for_ingest", prepare).await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(db.url()).await.unwrap();
    let ids: Vec<&str> = MADE.into_iter().chain(NAMED).collect();
    for id in &ids {
        sqlx::query(
            "INSERT INTO agent_threads (thread_id, created_at, updated_at) VALUES ($1, now(), now())",
        )
        .bind(id)
        .execute(&pool)
        .await
        .unwrap();
    }
    for query in QUERIES {
        let reader = Reader::Everything;
        let filter = ThreadFilter { query, participant: None, reader: &reader, after: None, limit: 100 };
        let found = threads::list(&pool, &filter).await.unwrap();
        let mut found: Vec<&str> = found.iter().map(|thread| thread.thread_id.as_str()).collect();
        found.sort_unstable();
        let holds = |id: &&str| id.to_lowercase().contains(&query.to_lowercase());
        let mut expected: Vec<&str> = ids.iter().copied().filter(holds).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{query}");
    }
}
