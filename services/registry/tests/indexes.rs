//! What a user waits for is answered through an index, whatever the planner thinks of other ways.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use agentnet_proto::AccountId;
use agentnet_store::access::Reader;
use agentnet_store::messages::{self, MessageFilter};
use serde_json::{Value, json};
use support::{PATIENCE, World};

/// Many messages in many threads, of which few have any one word, sender or thread.
const FILL: [&str; 4] = [
    "INSERT INTO agent_messages (message_id, thread_id, from_account_id, to_account_id, to_agent, kind, \
     schema_version, sent_at, received_at, envelope, body_sha256, search) \
     SELECT 'm' || n, 't' || n % 2000, 'acct_' || n % 1000, 'acct_' || n % 999, 'acct_x', \
     CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'direct' END, '1.2', now() - n * interval '1 second', now(), \
     '{\"message_id\":\"m\",\"payload\":{}}', '', to_tsvector('simple', 'common word' || n % 4000) \
     FROM generate_series(1, 20000) AS n",
    "INSERT INTO agent_threads (thread_id, participants, created_at, updated_at, last_message_at) \
     SELECT 't' || n, jsonb_build_array('acct_' || n), now(), now(), now() - n * interval '1 second' \
     FROM generate_series(1, 2000) AS n",
    "ANALYZE agent_messages",
    "ANALYZE agent_threads",
];

#[tokio::test]
async fn history_is_read_through_its_indexes() {
    let world = World::new().await;
    for statement in FILL {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
    let registry = world.registry(&[]).await;
    let newest = world.call("message_search", json!({"limit": 1})).await["next_cursor"].clone();
    let cases: [(&str, &str, Value); 9] = [
        ("agent_messages_search", "message_search", json!({"q": "word77"})),
        ("agent_messages_sent", "message_search", json!({"limit": 10})),
        ("agent_messages_sent", "message_search", json!({"limit": 10, "cursor": newest})),
        ("agent_messages_from", "message_search", json!({"from_account_id": "acct_5", "limit": 10})),
        ("agent_messages_to", "message_search", json!({"to_account_id": "acct_5", "limit": 10})),
        ("agent_messages_rare_kind", "message_search", json!({"kind": "rare", "limit": 10})),
        ("agent_messages_thread", "thread_messages", json!({"thread_id": "t7", "limit": 5})),
        ("agent_threads_activity", "thread_list", json!({"limit": 10})),
        ("agent_threads_participants", "thread_list", json!({"participant_account_id": "acct_7"})),
    ];
    for (index, method, body) in cases {
        let before = scans(&world, index).await;
        // Backends tell their figures at the end of a statement, once in a while.
        eventually(PATIENCE, || async {
            let answer = world.call(method, body.clone()).await;
            assert!(answer.get("error").is_none(), "{answer}");
            (scans(&world, index).await > before).then_some(())
        })
        .await;
    }
    // And none of it by reading everything.
    let read: i64 =
        sqlx::query_scalar("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'agent_messages'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
    let planned_for: i64 =
        sqlx::query_scalar("SELECT count(*) FROM agent_messages").fetch_one(&world.pool).await.unwrap();
    assert_eq!((read, planned_for), (0, 20_000), "a table scan");
    registry.stop().await;
}

async fn scans(world: &World, index: &str) -> i64 {
    sqlx::query_scalar("SELECT coalesce(idx_scan, 0) FROM pg_stat_user_indexes WHERE indexrelname = $1")
        .bind(index)
        .fetch_one(&world.pool)
        .await
        .unwrap()
}

/// In secure mode everybody reads with narrowed queries: what narrows them must not make them read everything.
#[tokio::test]
async fn what_an_account_may_read_is_found_through_the_indexes() {
    let world = World::new().await;
    // One connection, so that it tells its own figures.
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(world.db.url()).await.unwrap();
    for statement in FILL {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let reader = Reader::Own(AccountId::new("acct_5").unwrap());
    let all = MessageFilter::of(&reader);
    let cases = [
        ("everything of its own", all, 20),
        ("a thread", MessageFilter { thread_id: Some("t5"), ..all }, 10),
        ("words", MessageFilter { words: Some("word5"), ..all }, 1),
        ("a peer", MessageFilter { to_account_id: Some("acct_5"), ..all }, 20),
        ("what it sent", MessageFilter { from_account_id: Some("acct_5"), ..all }, 20),
        ("a message", MessageFilter { message_id: Some("m5"), ..all }, 1),
    ];
    for (what, filter, least) in cases {
        let before = figures(&pool).await;
        let page = messages::page(&pool, &filter, None, 50, 1 << 20).await.unwrap();
        let own = |row: &messages::Message| {
            [&row.from_account_id, &row.to_account_id].iter().any(|id| id.as_deref() == Some("acct_5"))
        };
        assert!(
            page.messages.len() >= least && page.messages.iter().all(own),
            "{what}: {}",
            page.messages.len()
        );
        let after = figures(&pool).await;
        assert_eq!(after.0, before.0, "{what}: a table scan");
        assert!(after.1 > before.1, "{what}: no index was used");
    }
}

/// Scans of the whole table of messages, and of its indexes.
async fn figures(pool: &sqlx::PgPool) -> (i64, i64) {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_as("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'agent_messages'")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn accounts_are_found_by_their_systems_through_an_index() {
    let world = World::new().await;
    let fill = "INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at, metadata) \
                SELECT 'acct_' || n, 'user' || n, 'user', now(), now(), CASE WHEN n % 5000 = 0 THEN \
                '{\"metadata\": {\"sub_systems\": [{\"sub_system_id\": \"a\", \"sub_system_type\": \"rare\"}]}}'::jsonb \
                WHEN n % 2 = 0 THEN \
                '{\"metadata\": {\"sub_systems\": [{\"sub_system_id\": \"a\", \"sub_system_type\": \"common\"}]}}'::jsonb \
                ELSE '{}'::jsonb END FROM generate_series(1, 20000) AS n";
    for statement in [fill, "ANALYZE agent_accounts"] {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
    let registry = world.registry(&[]).await;
    let before = scans(&world, "agent_accounts_sub_systems").await;
    eventually(PATIENCE, || async {
        let answer = world.call("search", json!({"sub_system_type": "rare"})).await;
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(4), "{answer}");
        (scans(&world, "agent_accounts_sub_systems").await > before).then_some(())
    })
    .await;
    registry.stop().await;
}
