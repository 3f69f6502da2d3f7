//! Trying again what was given up.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgPool};

use super::{events, events::DeliveryEvent, events::what, lease};
use crate::StoreError;

/// What to try again; every field narrows. Without a message only dead deliveries are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redrive<'a> {
    /// This message, whether dead or expired.
    pub message_id: Option<&'a str>,
    /// This recipient: an account id, or `capability:<name>`.
    pub recipient: Option<&'a str>,
}

#[derive(FromRow)]
struct Key {
    message_id: String,
    recipient: String,
}

/// Makes at most `limit` deliveries pending and due, with all their attempts and their whole time to live before them.
/// Returns (message, recipient) of each.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn redrive(
    pool: &PgPool,
    wanted: &Redrive<'_>,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let failed = StoreError::query("agent_deliveries.redrive");
    let mut tx = pool.begin().await.map_err(&failed)?;
    let now: Timestamp = lease::now(&mut tx).await?;
    // `receipt_at` makes that what was said before doesn't decide about this try.
    let keys: Vec<Key> = sqlx::query_as(
        "WITH given_up AS (SELECT d.message_id, d.recipient FROM agent_deliveries d \
             JOIN agent_messages m ON m.message_id = d.message_id \
             WHERE d.state IN ('rejected', 'expired', 'dead') \
             AND (d.state = 'dead' OR (d.state = 'expired' AND $1 IS NOT NULL)) AND d.has_message \
             AND ($1 IS NULL OR d.message_id = $1) AND ($2 IS NULL OR d.recipient = $2) \
             ORDER BY d.finished_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED) \
         UPDATE agent_deliveries d SET state = 'pending', attempts = 0, unanswered = 0, parked = false, \
             next_attempt_at = $4, receipt_at = $4, lease_until = NULL, finished_at = NULL, last_code = NULL, \
             last_detail = NULL, \
             expires_at = greatest(d.expires_at, $4 + least(d.expires_at - d.created_at, interval '30 days')) \
         FROM given_up g WHERE d.message_id = g.message_id AND d.recipient = g.recipient \
         RETURNING d.message_id, d.recipient",
    )
    .bind(wanted.message_id)
    .bind(wanted.recipient)
    .bind(limit)
    .bind(now.to_offset())
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    let log: Vec<DeliveryEvent> = keys
        .iter()
        .map(|key| DeliveryEvent {
            message_id: key.message_id.clone(),
            recipient: key.recipient.clone(),
            at: now,
            what: what::REDRIVEN.to_owned(),
            attempt: None,
            account_id: None,
            session: None,
            code: None,
            detail: None,
        })
        .collect();
    events::add(&mut tx, &log).await?;
    tx.commit().await.map_err(&failed)?;
    Ok(keys.into_iter().map(|key| (key.message_id, key.recipient)).collect())
}
