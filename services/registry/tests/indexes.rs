//! What a user waits for is answered through an index, whatever the planner thinks of other ways.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
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
