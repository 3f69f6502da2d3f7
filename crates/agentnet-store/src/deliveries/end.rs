//! Giving up: time to live that ran out, attempts that were used up.

use agentnet_proto::{ErrorCode, Timestamp};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, Transaction};

use super::{events, events::DeliveryEvent, events::what, lease};
use crate::{StoreError, ingest::LEASE};

/// After its time to live, how long a session that is still there may go on with what it accepted before the network
/// stops waiting, in seconds.
const GRACE_SECONDS: f64 = 600.0;

/// A delivery that the network gave up.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Ended {
    /// The message.
    pub message_id: String,
    /// Whose delivery.
    pub recipient: String,
    /// Whom to tell.
    pub sender_account_id: Option<String>,
    /// `expired`, `dead`, or `rejected` where the recipient blocked the sender.
    pub state: String,
    /// Why, a code of the protocol.
    pub code: String,
    /// The code of the last refusal, if there was one.
    pub last_code: Option<String>,
}

/// A delivery whose time to live ran out.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Overdue {
    /// The message.
    pub message_id: String,
    /// Whose delivery.
    pub recipient: String,
    /// The session that accepted it, if one did.
    pub owner_session: Option<String>,
    /// Whether a session had accepted it.
    pub accepted: bool,
    /// Whether that session had time enough.
    pub long: bool,
}

/// Locks at most `limit` deliveries whose time to live ran out.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn overdue(
    pool: &PgPool,
    limit: i64,
) -> Result<(Transaction<'static, Postgres>, Vec<Overdue>), StoreError> {
    let failed = StoreError::query("agent_deliveries.overdue");
    let mut tx = pool.begin().await.map_err(&failed)?;
    let rows = sqlx::query_as(
        "SELECT d.message_id, d.recipient, d.owner_session, d.state = 'accepted' AS accepted, \
         d.expires_at + make_interval(secs => $2) < p.committed AS long \
         FROM agent_deliveries d, (SELECT agentnet_committed_at() AS committed) AS p \
         WHERE d.state IN ('pending', 'accepted') AND least(d.next_attempt_at, d.expires_at) <= p.committed \
         AND d.expires_at <= p.committed AND (d.state = 'pending' OR coalesce(d.lease_until <= p.committed, true)) \
         ORDER BY least(d.next_attempt_at, d.expires_at) LIMIT $1 FOR UPDATE OF d SKIP LOCKED",
    )
    .bind(limit)
    .bind(GRACE_SECONDS)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    Ok((tx, rows))
}

/// Ends the `gone`, gives the sessions of the `busy` another minute, and commits.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn expire(
    mut tx: Transaction<'static, Postgres>,
    gone: &[&Overdue],
    busy: &[&Overdue],
) -> Result<Vec<Ended>, StoreError> {
    for row in busy {
        let id = [row.message_id.clone()];
        lease::extend(&mut tx, &row.recipient, &id, LEASE.as_secs_f64()).await?;
    }
    let mut ended = Vec::new();
    if !gone.is_empty() {
        let now = lease::now(&mut tx).await?;
        ended = sqlx::query_as(
            "UPDATE agent_deliveries d SET state = 'expired', finished_at = $3, receipt_at = $3, next_attempt_at = NULL, \
             last_code = $4, last_detail = CASE WHEN d.last_code IS NULL THEN d.last_detail \
                 ELSE concat_ws(': ', d.last_code, d.last_detail) END \
             FROM unnest($1::text[], $2::text[]) AS v (message_id, recipient), agent_deliveries o \
             WHERE d.message_id = v.message_id AND d.recipient = v.recipient \
             AND o.message_id = d.message_id AND o.recipient = d.recipient \
             RETURNING d.message_id, d.recipient, d.sender_account_id, d.state, d.last_code AS code, o.last_code",
        )
        .bind(gone.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>())
        .bind(gone.iter().map(|row| row.recipient.as_str()).collect::<Vec<_>>())
        .bind(now.to_offset())
        .bind(ErrorCode::Expired.as_str())
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::query("agent_deliveries.expire"))?;
        log(&mut tx, &ended, now, what::EXPIRED).await?;
    }
    tx.commit().await.map_err(StoreError::query("agent_deliveries.expire"))?;
    Ok(ended)
}

/// The attempts of these are used up.
pub(super) async fn bury(
    conn: &mut PgConnection,
    recipient: &str,
    ids: &[String],
    now: Timestamp,
) -> Result<Vec<Ended>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let dead: Vec<Ended> = sqlx::query_as(
        "UPDATE agent_deliveries d SET state = 'dead', attempts = d.attempts + (d.state = 'accepted')::integer, \
         finished_at = $3, receipt_at = $3, next_attempt_at = NULL, last_code = $4, last_detail = NULL \
         WHERE d.message_id = ANY($1) AND d.recipient = $2 \
         RETURNING d.message_id, d.recipient, d.sender_account_id, d.state, d.last_code AS code, NULL AS last_code",
    )
    .bind(ids)
    .bind(recipient)
    .bind(now.to_offset())
    .bind(ErrorCode::DeliveryAttemptsExhausted.as_str())
    .fetch_all(&mut *conn)
    .await
    .map_err(StoreError::query("agent_deliveries.bury"))?;
    log(conn, &dead, now, what::DEAD).await?;
    Ok(dead)
}

/// The recipient blocks the senders of these.
pub(super) async fn refuse(
    conn: &mut PgConnection,
    recipient: &str,
    ids: &[String],
    now: Timestamp,
) -> Result<Vec<Ended>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let refused: Vec<Ended> = sqlx::query_as(
        "UPDATE agent_deliveries d SET state = 'rejected', finished_at = $3, receipt_at = $3, next_attempt_at = NULL, \
         lease_until = NULL, last_code = $4, last_detail = NULL \
         WHERE d.message_id = ANY($1) AND d.recipient = $2 \
         RETURNING d.message_id, d.recipient, d.sender_account_id, d.state, d.last_code AS code, NULL AS last_code",
    )
    .bind(ids)
    .bind(recipient)
    .bind(now.to_offset())
    .bind(ErrorCode::Blocked.as_str())
    .fetch_all(&mut *conn)
    .await
    .map_err(StoreError::query("agent_deliveries.refuse"))?;
    log(conn, &refused, now, what::REJECTED).await?;
    Ok(refused)
}

async fn log(conn: &mut PgConnection, ended: &[Ended], at: Timestamp, what: &str) -> Result<(), StoreError> {
    let events: Vec<DeliveryEvent> = ended
        .iter()
        .map(|row| DeliveryEvent {
            message_id: row.message_id.clone(),
            recipient: row.recipient.clone(),
            at,
            what: what.to_owned(),
            attempt: None,
            account_id: None,
            session: None,
            code: Some(row.code.clone()),
            detail: row.last_code.clone(),
        })
        .collect();
    events::add(conn, &events).await
}
