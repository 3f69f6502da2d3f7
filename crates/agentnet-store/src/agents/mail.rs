//! Deliveries of agents that come in over HTTP: leased to whoever fetches them, finished when they are acknowledged.
//!
//! They are the same rows that redelivery works on. A fetched one is `accepted` by the session [`HTTP_SESSION`], which never is
//! online: when its lease is over, redelivery takes it back, counts the attempt, and buries it after the last one.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;

use crate::StoreError;
use crate::ingest::RECEIPT_WAIT;

/// The session in whose name mail is fetched.
pub(super) const HTTP_SESSION: &str = "http";

/// A delivery that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Fetched {
    /// The message.
    pub message_id: String,
    /// Whose delivery.
    pub recipient: String,
    /// Who sent it.
    pub sender_account_id: Option<String>,
    /// How often it was tried, this time included.
    pub attempt: i32,
    /// Until when it is this reader's.
    pub lease_until: OffsetDateTime,
}

/// Leases at most `limit` open deliveries of a recipient, in the order they came. What a session on NATS may still be taking
/// waits for its receipts, what failed for its next time.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn fetch(
    tx: &mut PgConnection,
    recipient: &str,
    limit: i64,
    lease: Duration,
    max_attempts: i32,
) -> Result<Vec<Fetched>, StoreError> {
    sqlx::query_as(
        "WITH t AS (SELECT agentnet_stream_now() AS now, EXISTS (SELECT FROM agent_sessions s \
                        WHERE s.account_id = $1 AND s.status = 'online' AND s.metadata #>> '{metadata,via}' IS NULL) AS live), \
              due AS (SELECT d.message_id, d.state = 'accepted' AS again FROM agent_deliveries d, t \
                      WHERE d.recipient = $1 AND d.state IN ('pending', 'accepted') AND d.has_message \
                      AND d.next_attempt_at IS NOT NULL AND (d.expires_at IS NULL OR d.expires_at > t.now) \
                      AND d.attempts + (d.state = 'accepted')::integer < $4 \
                      AND CASE WHEN d.state = 'accepted' THEN d.owner_session = $5 AND d.lease_until <= t.now \
                          WHEN d.last_code = 'webhook_failed' AND NOT d.parked THEN d.next_attempt_at <= t.now \
                          ELSE NOT t.live OR d.created_at < t.now - $6::interval END \
                      AND NOT EXISTS (SELECT FROM agent_blocks b \
                          WHERE b.account_id = d.recipient AND b.blocked_id = d.sender_account_id) \
                      ORDER BY d.created_at, d.message_id LIMIT $2 FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET state = 'accepted', handler_account_id = d.recipient, owner_session = $5, \
             receipt_at = t.now, accepted_at = coalesce(d.accepted_at, t.now), attempts = d.attempts + due.again::integer, \
             lease_until = t.now + $3::interval, next_attempt_at = t.now + $3::interval, parked = false, unanswered = 0, \
             last_code = NULL, last_detail = NULL \
         FROM due, t WHERE d.message_id = due.message_id AND d.recipient = $1 \
         RETURNING d.message_id, d.recipient, d.sender_account_id, d.attempts + 1 AS attempt, d.lease_until",
    )
    .bind(recipient)
    .bind(limit)
    .bind(lease)
    .bind(max_attempts)
    .bind(HTTP_SESSION)
    .bind(RECEIPT_WAIT)
    .fetch_all(tx)
    .await
    .map_err(StoreError::query("agent_deliveries.fetch"))
}

/// A delivery that was finished by an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Acked {
    /// The message.
    pub message_id: String,
    /// Who sent it.
    pub sender_account_id: Option<String>,
    /// Whether this call finished it.
    pub now: bool,
}

/// Finishes deliveries of a recipient: `processed`, or `rejected` with a code and detail. What was finished before stays as it
/// is, but is among the rows.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn ack(
    tx: &mut PgConnection,
    recipient: &str,
    ids: &[String],
    refusal: Option<(&str, &str)>,
) -> Result<Vec<Acked>, StoreError> {
    sqlx::query_as(
        "WITH known AS (SELECT message_id, sender_account_id, state IN ('pending', 'accepted') AS open FROM agent_deliveries \
                        WHERE recipient = $1 AND message_id = ANY($2) AND has_message ORDER BY message_id FOR UPDATE), \
              done AS (UPDATE agent_deliveries d SET state = CASE WHEN $3::text IS NULL THEN 'processed' ELSE 'rejected' END, \
                           handler_account_id = d.recipient, owner_session = $5, receipt_at = t.now, finished_at = t.now, \
                           accepted_at = coalesce(d.accepted_at, t.now), next_attempt_at = NULL, lease_until = NULL, \
                           last_code = $3, last_detail = $4 \
                       FROM known k, (SELECT agentnet_stream_now() AS now) t \
                       WHERE d.message_id = k.message_id AND d.recipient = $1 AND k.open RETURNING d.message_id) \
         SELECT k.message_id, k.sender_account_id, EXISTS (SELECT FROM done WHERE done.message_id = k.message_id) AS now \
         FROM known k",
    )
    .bind(recipient)
    .bind(ids)
    .bind(refusal.map(|(code, _)| code))
    .bind(refusal.map(|(_, detail)| detail))
    .bind(HTTP_SESSION)
    .fetch_all(tx)
    .await
    .map_err(StoreError::query("agent_deliveries.ack"))
}

/// Gives fetched deliveries back as if they hadn't been.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn give_back(tx: &mut PgConnection, recipient: &str, ids: &[String]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agent_deliveries d SET state = 'pending', lease_until = NULL, next_attempt_at = t.now, receipt_at = t.now \
         FROM (SELECT agentnet_stream_now() AS now) t WHERE d.recipient = $1 AND d.message_id = ANY($2) \
         AND d.state = 'accepted' AND d.owner_session = $3",
    )
    .bind(recipient)
    .bind(ids)
    .bind(HTTP_SESSION)
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_deliveries.give_back"))
}
