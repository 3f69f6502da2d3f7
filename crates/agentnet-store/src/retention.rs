//! Removing what is old, in steps small enough not to hold anybody up. Replicas share the work: rows that another
//! one has locked are skipped.

use std::time::Duration;

use sqlx::PgPool;

use crate::StoreError;

/// Rows removed by one statement.
const STEP: i64 = 5_000;

/// What one step of [`stale_threads`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Threads.
    pub threads: u64,
    /// Messages, each with its deliveries.
    pub messages: u64,
}

/// Deletes sessions that went offline longer ago than `after`; returns how many. Zero means none is left.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn offline_sessions(pool: &PgPool, after: Duration) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_sessions WHERE session_tag IN (SELECT session_tag FROM agent_sessions \
         WHERE status = 'offline' AND disconnected_at < now() - make_interval(secs => $1) \
         LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(after.as_secs_f64())
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("retention.offline_sessions"))
}

/// Deletes nonces whose time has passed; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn nonces(pool: &PgPool) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_auth_nonces WHERE (account_id, nonce) IN (SELECT account_id, nonce FROM agent_auth_nonces \
         WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("retention.nonces"))
}

/// Deletes what was quarantined longer ago than `after`; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn quarantine(pool: &PgPool, after: Duration) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_quarantine WHERE id IN (SELECT id FROM agent_quarantine \
         WHERE received_at < now() - make_interval(secs => $1) LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(after.as_secs_f64())
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("retention.quarantine"))
}

/// Deletes deliveries known from receipts only, whose message hasn't come for longer than `after`, with their events;
/// returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn delivery_stubs(pool: &PgPool, after: Duration) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH stub AS (SELECT message_id, recipient FROM agent_deliveries WHERE NOT has_message \
             AND created_at < now() - make_interval(secs => $1) LIMIT $2 FOR UPDATE SKIP LOCKED), \
         told AS (DELETE FROM agent_delivery_events e USING stub \
             WHERE e.message_id = stub.message_id AND e.recipient = stub.recipient) \
         DELETE FROM agent_deliveries d USING stub \
         WHERE d.message_id = stub.message_id AND d.recipient = stub.recipient",
    )
    .bind(after.as_secs_f64())
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("retention.delivery_stubs"))
}

/// One step over at most `max_threads` threads without activity for longer than `after`: deletes up to 5,000 of
/// their messages with the deliveries, and the threads that are empty then; those with members stay, or their ids would be
/// free for anybody to take. Messages that the network still tries to
/// deliver stay. Nothing removed means nothing is left to do.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn stale_threads(pool: &PgPool, after: Duration, max_threads: i64) -> Result<Pruned, StoreError> {
    let failed = StoreError::query("retention.stale_threads");
    let mut tx = pool.begin().await.map_err(&failed)?;
    // Deleting 5,000 messages with their index entries may take longer than a query of a user.
    sqlx::query("SET LOCAL statement_timeout = '30s'").execute(&mut *tx).await.map_err(&failed)?;
    // The lock on the thread's row holds up a persister that adds to it, until we are done.
    let threads: Vec<String> = sqlx::query_scalar(
        // Only threads in which something may go, or threads that keep their messages would hold up those behind them.
        "SELECT thread_id FROM agent_threads t \
         WHERE active_minute < now() - make_interval(secs => $1) \
             AND coalesce(last_message_at, updated_at) < now() - make_interval(secs => $1) \
             AND (EXISTS (SELECT FROM agent_messages m WHERE m.thread_id = t.thread_id \
                          AND (m.expires_at IS NULL OR m.expires_at < now())) \
                  OR (access = 'open' \
                      AND NOT EXISTS (SELECT FROM agent_messages m WHERE m.thread_id = t.thread_id))) \
         ORDER BY active_minute, thread_id LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(after.as_secs_f64())
    .bind(max_threads)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    if threads.is_empty() {
        return Ok(Pruned::default());
    }
    let messages: Vec<String> = sqlx::query_scalar(
        "DELETE FROM agent_messages WHERE message_id IN (SELECT message_id FROM agent_messages \
         WHERE thread_id = ANY($1) AND (expires_at IS NULL OR expires_at < now()) LIMIT $2) RETURNING message_id",
    )
    .bind(&threads)
    .bind(STEP)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    for sql in [
        "DELETE FROM agent_deliveries WHERE message_id = ANY($1)",
        "DELETE FROM agent_delivery_events WHERE message_id = ANY($1)",
    ] {
        sqlx::query(sql).bind(&messages).execute(&mut *tx).await.map_err(&failed)?;
    }
    let emptied = sqlx::query(
        "DELETE FROM agent_threads t WHERE thread_id = ANY($1) \
         AND access = 'open' \
         AND NOT EXISTS (SELECT FROM agent_messages m WHERE m.thread_id = t.thread_id)",
    )
    .bind(&threads)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    tx.commit().await.map_err(&failed)?;
    Ok(Pruned { threads: emptied.rows_affected(), messages: messages.len() as u64 })
}
