//! A million messages in about a minute: inserted by the server itself, indexes made afterwards.

use sqlx::{AssertSqlSafe, PgPool};

/// `sent_at` of message `n`: one a second.
pub(crate) fn at(n: usize) -> String {
    let (days, second) = (n / 86_400, n % 86_400);
    let (month, day) = (days / 28 + 1, days % 28 + 1);
    format!("2026-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// 99 % in one thread, the rest in a hundred small ones.
pub(crate) async fn messages(pool: &PgPool, count: usize) {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'agent_messages' AND indexname NOT LIKE '%pkey'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for (name, _) in &indexes {
        sqlx::query(AssertSqlSafe(format!("DROP INDEX {name}"))).execute(pool).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, from_account_id, to_account_id, to_agent, kind, trace_id, \
         sent_at, received_at, envelope, body_sha256, search) \
         SELECT id, thread, sender, target, target, kind, id, at, at, \
         convert_to(format('{\"message_id\":\"%s\",\"from_agent\":\"bench\",\"to_agent\":\"%s\",\"kind\":\"%s\",\
         \"sent_at\":\"%s\",\"ttl_ms\":30000,\"schema_version\":\"1.2\",\"payload\":{\"text\":\"%s\"}}', \
         id, target, kind, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), words), 'UTF8'), \
         decode(md5(id), 'hex'), to_tsvector('simple', words) \
         FROM (SELECT md5(n::text) AS id, \
               CASE WHEN n % 100 = 0 THEN 'small' || (n / 100 % 100) ELSE 'big' END AS thread, \
               'acct_' || (n % 1000) AS sender, 'acct_' || (n % 500) AS target, \
               CASE WHEN n % 10000 = 0 THEN 'system' WHEN n % 20 = 1 THEN 'request' WHEN n % 20 = 2 THEN 'reply' \
                    ELSE 'direct' END AS kind, \
               timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second' AS at, \
               'hello from the bench, topic' || (n * 7 % 1000) || ' group' || (n * 3 % 20) || ' unique' || n \
               || ' and some more words that make up a message of the usual length' AS words \
               FROM generate_series(0, $1::bigint - 1) AS n) AS v",
    )
    .bind(i64::try_from(count).unwrap())
    .execute(pool)
    .await
    .unwrap();
    for (_, definition) in indexes {
        sqlx::query(AssertSqlSafe(definition)).execute(pool).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO agent_threads (thread_id, participants, created_at, updated_at, message_count, last_message_at) \
         SELECT CASE n WHEN 0 THEN 'big' ELSE 'small' || n END, \
         jsonb_build_array('acct_' || n % 1000, 'acct_' || n * 7 % 1000), now(), now(), 1, \
         now() - n * interval '1 minute' FROM generate_series(0, 20000) n",
    )
    .execute(pool)
    .await
    .unwrap();
    for table in ["agent_messages", "agent_threads"] {
        sqlx::query(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).execute(pool).await.unwrap();
    }
}
