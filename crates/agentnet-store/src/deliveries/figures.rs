//! What waits, for gauges and the alarm.

use sqlx::{FromRow, PgExecutor};

use crate::StoreError;

/// Deliveries that aren't finished.
#[derive(Debug, Clone, Copy, PartialEq, Default, FromRow)]
pub struct Waiting {
    /// How many, at most the limit that was given.
    pub open: i64,
    /// How many are dead, at most the limit that was given.
    pub dead: i64,
    /// Age of the oldest pending one among those looked at, in seconds of the stream's clock.
    pub oldest_seconds: Option<f64>,
}

/// Counts up to `limit` of each kind.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn waiting(db: impl PgExecutor<'_>, limit: i64) -> Result<Waiting, StoreError> {
    sqlx::query_as(
        "SELECT count(*) AS open, \
         (SELECT count(*) FROM (SELECT 1 FROM agent_deliveries WHERE state = 'dead' \
             AND state IN ('rejected', 'expired', 'dead') LIMIT $1) d) AS dead, \
         extract(epoch FROM agentnet_stream_now() - min(created_at) FILTER (WHERE state = 'pending' AND has_message \
             AND next_attempt_at IS NOT NULL))::float8 AS oldest_seconds \
         FROM (SELECT created_at, state, has_message, next_attempt_at FROM agent_deliveries \
               WHERE state IN ('pending', 'accepted') LIMIT $1) o",
    )
    .bind(limit)
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_deliveries.waiting"))
}

/// For each of `recipients` that something waits for, the age of the oldest delivery that nobody has accepted yet, in
/// seconds of the stream's clock.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn oldest(
    db: impl PgExecutor<'_>,
    recipients: &[String],
) -> Result<Vec<(String, f64)>, StoreError> {
    sqlx::query_as(
        "SELECT r, extract(epoch FROM t.now - d.created_at)::float8 \
         FROM (SELECT agentnet_stream_now() AS now) t, unnest($1::text[]) AS r \
         CROSS JOIN LATERAL (SELECT created_at FROM agent_deliveries \
             WHERE recipient = r AND state IN ('pending', 'accepted') AND state = 'pending' AND has_message \
             AND next_attempt_at IS NOT NULL ORDER BY created_at, message_id LIMIT 1) d",
    )
    .bind(recipients)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_deliveries.oldest"))
}
