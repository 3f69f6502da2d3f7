//! Rows that the persister would have written.

use serde_json::{Value, json};
use sqlx::PgPool;

/// One stored message; `at` is ISO 8601.
pub async fn message(pool: &PgPool, id: &str, thread: &str, at: &str, extra: Value) {
    let mut envelope = json!({
        "message_id": id, "from_agent": "a", "to_agent": "acct_b", "payload": {"text": format!("hi {id}")},
        "sent_at": at, "kind": "direct", "schema_version": "1.2", "thread_id": thread,
        "from_account_id": "acct_a", "to_account_id": "acct_b", "ttl_ms": 30000, "trace_id": id,
    });
    for (name, value) in extra.as_object().unwrap() {
        envelope[name] = value.clone();
    }
    raw_message(pool, id, thread, at, &envelope, envelope.to_string().into_bytes()).await;
}

/// One stored message with exactly these bytes.
pub async fn raw_message(
    pool: &PgPool,
    id: &str,
    thread: &str,
    at: &str,
    columns: &Value,
    envelope: Vec<u8>,
) {
    let text = |name: &str| columns[name].as_str().map(str::to_owned);
    let words = columns["payload"].to_string();
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, parent_message_id, from_account_id, from_session_tag, \
         to_account_id, to_agent, kind, schema_version, idempotency_key, trace_id, sent_at, received_at, envelope, \
         body_sha256, search) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::timestamptz, \
         $12::timestamptz, $13, ''::bytea, to_tsvector('simple', $14))",
    )
    .bind(id)
    .bind(thread)
    .bind(text("parent_message_id"))
    .bind(text("from_account_id"))
    .bind(text("from_session_tag"))
    .bind(text("to_account_id"))
    .bind(text("to_agent"))
    .bind(text("kind"))
    .bind(text("schema_version"))
    .bind(text("idempotency_key"))
    .bind(text("trace_id"))
    .bind(at)
    .bind(envelope)
    .bind(words)
    .execute(pool)
    .await
    .unwrap();
}

/// One thread; `at` is ISO 8601 or null for one without messages.
pub async fn thread(pool: &PgPool, id: &str, participants: &[&str], at: Option<&str>) {
    sqlx::query(
        "INSERT INTO agent_threads (thread_id, created_by_account_id, participants, created_at, updated_at, \
         message_count, byte_count, approx_tokens, pending_raw_messages, last_message_at) \
         VALUES ($1, $2, $3, now(), coalesce($4::timestamptz, now()), 3, 117, 31, 2, $4::timestamptz)",
    )
    .bind(id)
    .bind(participants.first())
    .bind(sqlx::types::Json(participants))
    .bind(at)
    .execute(pool)
    .await
    .unwrap();
}
