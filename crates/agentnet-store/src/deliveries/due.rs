//! When a delivery is looked at next.

use std::time::Duration;

use sqlx::{FromRow, PgExecutor};

use super::{LONGEST_PARKING, REDELIVERY_LEASE};
use crate::{StoreError, ingest::RECEIPT_WAIT};

/// A recipient with deliveries that are due.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DueRecipient {
    /// An account id, or `capability:<name>`.
    pub recipient: String,
    /// Whether some of them were accepted by a session, which may be gone.
    pub accepted: bool,
}

/// Recipients that have something due, those waiting longest first; not those in `except`, which are being looked
/// after. Looks at the `depth` deliveries due longest.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn due_recipients(
    db: impl PgExecutor<'_>,
    except: &[String],
    depth: i64,
) -> Result<Vec<DueRecipient>, StoreError> {
    sqlx::query_as(
        "SELECT recipient, bool_or(state = 'accepted') AS accepted FROM (\
             SELECT recipient, state, next_attempt_at FROM agent_deliveries, \
             (SELECT agentnet_committed_at() AS committed) AS p \
             WHERE state IN ('pending', 'accepted') AND least(next_attempt_at, expires_at) <= p.committed \
             AND next_attempt_at <= p.committed AND (expires_at IS NULL OR expires_at > p.committed) AND has_message \
             AND recipient <> ALL($1) ORDER BY least(next_attempt_at, expires_at) LIMIT $2) d \
         GROUP BY recipient ORDER BY min(next_attempt_at)",
    )
    .bind(except)
    .bind(depth)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_deliveries.due_recipients"))
}

/// Those of `recipients` that anything is open for.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn with_open(db: impl PgExecutor<'_>, recipients: &[String]) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT r FROM unnest($1::text[]) AS r WHERE EXISTS (SELECT FROM agent_deliveries d \
         WHERE d.recipient = r AND d.state IN ('pending', 'accepted') AND d.next_attempt_at IS NOT NULL)",
    )
    .bind(recipients)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_deliveries.with_open"))
}

/// Makes at most `limit` pending deliveries to a recipient due, oldest first; returns how many. `parked`: only those
/// that waited for somebody to be there. Live receipts and a lease that has just begun are still waited for.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn make_due(
    db: impl PgExecutor<'_>,
    recipient: &str,
    parked: bool,
    limit: i64,
) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH t AS (SELECT agentnet_stream_now() AS now), \
              late AS (SELECT d.message_id, d.recipient, greatest(t.now, d.created_at + $4, d.redelivered_at + $5) AS due \
                       FROM agent_deliveries d, t WHERE d.recipient = $1 AND d.state IN ('pending', 'accepted') \
                       AND d.state = 'pending' AND d.has_message AND (d.parked OR NOT $2) \
                       AND d.next_attempt_at > greatest(t.now, d.created_at + $4, d.redelivered_at + $5) \
                       ORDER BY d.created_at, d.message_id LIMIT $3 FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET next_attempt_at = late.due, parked = false, unanswered = 0 \
         FROM late WHERE d.message_id = late.message_id AND d.recipient = late.recipient",
    )
    .bind(recipient)
    .bind(parked)
    .bind(limit)
    .bind(RECEIPT_WAIT)
    .bind(REDELIVERY_LEASE)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_deliveries.make_due"))
}

/// Makes at most `limit` deliveries due, oldest first, that a recipient held back, if it has held nothing back for
/// `quiet`: it has room again, and what it refused long ago needn't wait as long again. What a holder of a capability
/// refused for itself alone isn't among it: room changes nothing about that. Returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn resume_held_back(
    db: impl PgExecutor<'_>,
    recipient: &str,
    quiet: Duration,
    limit: i64,
) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH t AS (SELECT agentnet_stream_now() AS now), \
              held AS (SELECT d.message_id, d.recipient, d.receipt_at FROM agent_deliveries d, t \
                       WHERE d.recipient = $1 AND d.state IN ('pending', 'accepted') AND d.state = 'pending' \
                       AND d.has_message AND NOT d.parked AND d.receipt_at IS NOT NULL \
                       AND d.last_code NOT IN ('blocked', 'no_handler') \
                       AND d.next_attempt_at > t.now), \
              first AS (SELECT d.message_id, d.recipient FROM agent_deliveries d JOIN held USING (message_id, recipient), t \
                        WHERE NOT EXISTS (SELECT FROM held h WHERE h.receipt_at > t.now - $2) \
                        ORDER BY d.created_at, d.message_id LIMIT $3 FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET next_attempt_at = t.now \
         FROM first, t WHERE d.message_id = first.message_id AND d.recipient = first.recipient",
    )
    .bind(recipient)
    .bind(quiet)
    .bind(limit)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_deliveries.resume_held_back"))
}

/// A session is gone: what it had accepted from `recipients` and not finished is due now. Returns how much that is.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn session_ended(
    db: impl PgExecutor<'_>,
    session: &str,
    recipients: &[String],
) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH t AS (SELECT agentnet_stream_now() AS now), \
              had AS (SELECT d.message_id, d.recipient FROM agent_deliveries d, t \
                      WHERE d.recipient = ANY($2) AND d.state IN ('pending', 'accepted') AND d.state = 'accepted' \
                      AND d.owner_session = $1 AND d.next_attempt_at > t.now FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET next_attempt_at = t.now, lease_until = t.now \
         FROM had, t WHERE d.message_id = had.message_id AND d.recipient = had.recipient",
    )
    .bind(session)
    .bind(recipients)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_deliveries.session_ended"))
}

/// Nobody is there for these recipients: their due deliveries wait, each about as long as it has waited already, with
/// some jitter. At most `limit`; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn park(db: impl PgExecutor<'_>, recipients: &[String], limit: i64) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH due AS (SELECT d.message_id, d.recipient, p.committed FROM agent_deliveries d, \
                      (SELECT agentnet_committed_at() AS committed) AS p \
                      WHERE d.recipient = ANY($1) AND d.state IN ('pending', 'accepted') AND d.state = 'pending' \
                      AND d.next_attempt_at <= p.committed LIMIT $2 FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET parked = true, next_attempt_at = due.committed \
             + least(greatest(due.committed - d.created_at, $3), $4) * (0.9 + 0.2 * random()) \
         FROM due WHERE d.message_id = due.message_id AND d.recipient = due.recipient",
    )
    .bind(recipients)
    .bind(limit)
    .bind(Duration::from_secs(10))
    .bind(LONGEST_PARKING)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_deliveries.park"))
}
