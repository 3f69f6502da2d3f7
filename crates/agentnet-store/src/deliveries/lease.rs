//! Giving due deliveries to a recipient: look, decide, grant, in one transaction that locks the rows.

use std::time::Duration;

use agentnet_proto::{ErrorCode, Timestamp};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use super::{REDELIVERY_LEASE, events, events::DeliveryEvent, events::what};
use crate::{
    StoreError,
    ingest::{HELD_BACK_PAUSE, LEASE},
};

/// A delivery that is due, locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The message.
    pub message_id: String,
    /// Who sent it.
    pub sender_account_id: Option<String>,
    /// Whether a session accepted it and its lease ran out.
    pub accepted: bool,
    /// The session that accepted it.
    pub owner_session: Option<String>,
    /// How often that went wrong before.
    pub attempts: i32,
    /// Bytes of the message.
    pub bytes: i64,
    /// Whether the recipient blocks the sender by now.
    pub blocked: bool,
}

#[derive(FromRow)]
struct CandidateColumns {
    message_id: String,
    sender_account_id: Option<String>,
    accepted: bool,
    owner_session: Option<String>,
    attempts: i32,
    bytes: i32,
    blocked: bool,
}

/// What to do with a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Deliver it again.
    Grant,
    /// Its session is at work: ask again in a minute.
    Extend,
    /// It can't be known yet whether its session is at work: ask again soon.
    Wait,
    /// Its session is gone and nobody else is there: pending again.
    TakeBack,
    /// Its attempts are used up.
    Bury,
    /// Its recipient blocks the sender.
    Refuse,
    /// Nobody who is there would take it: ask again in up to a minute, or when somebody else comes.
    Spare,
    /// Nothing now: it stays due.
    Leave,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Granted {
    /// The message.
    pub message_id: String,
    /// The exact bytes that were sent.
    pub envelope: Vec<u8>,
    /// The signature header they came with.
    pub signature: Option<String>,
    /// Which attempt this is, from 1: one more than how often a session accepted it and was lost.
    pub attempt: i32,
}

/// A holder of a capability that won't take a message.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Unwilling {
    /// The message.
    pub message_id: String,
    /// The holder.
    pub account_id: String,
    /// The session that said so; `None` when the account blocks the sender.
    pub session: Option<String>,
}

/// How much of what was delivered again a recipient has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Window {
    /// Delivered, or accepted, and not finished.
    pub outstanding: i64,
}

/// A transaction over due deliveries of one recipient.
#[derive(Debug)]
pub struct Leasing<'a> {
    tx: Transaction<'static, Postgres>,
    recipient: &'a str,
    /// The due deliveries in the order they came.
    pub candidates: Vec<Candidate>,
}

/// How much of what was delivered again the recipient has in hand.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn window(db: impl PgExecutor<'_>, recipient: &str) -> Result<Window, StoreError> {
    sqlx::query_as(
        "SELECT count(*) AS outstanding FROM agent_deliveries WHERE recipient = $1 AND leased_by IS NOT NULL \
         AND state IN ('pending', 'accepted') AND lease_until > agentnet_stream_now()",
    )
    .bind(recipient)
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_deliveries.window"))
}

impl<'a> Leasing<'a> {
    /// Locks at most `limit` due deliveries.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn begin(pool: &PgPool, recipient: &'a str, limit: i64) -> Result<Self, StoreError> {
        let failed = StoreError::query("agent_deliveries.candidates");
        let mut tx = pool.begin().await.map_err(&failed)?;
        let rows: Vec<CandidateColumns> = sqlx::query_as(
            "SELECT d.message_id, d.sender_account_id, d.state = 'accepted' AS accepted, d.owner_session, d.attempts, \
             octet_length(m.envelope) AS bytes, EXISTS (SELECT FROM agent_blocks b \
             WHERE b.account_id = d.recipient AND b.blocked_id = d.sender_account_id) AS blocked \
             FROM (SELECT agentnet_committed_at() AS committed) AS p, agent_deliveries d \
             JOIN agent_messages m ON m.message_id = d.message_id \
             WHERE d.recipient = $1 AND d.state IN ('pending', 'accepted') AND d.has_message \
             AND d.next_attempt_at <= p.committed AND (d.expires_at IS NULL OR d.expires_at > p.committed) \
             ORDER BY d.created_at, d.message_id LIMIT $2 FOR UPDATE OF d SKIP LOCKED",
        )
        .bind(recipient)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await
        .map_err(&failed)?;
        let candidates = rows
            .into_iter()
            .map(|row| Candidate {
                message_id: row.message_id,
                sender_account_id: row.sender_account_id,
                accepted: row.accepted,
                owner_session: row.owner_session,
                attempts: row.attempts,
                bytes: row.bytes.into(),
                blocked: row.blocked,
            })
            .collect();
        Ok(Self { tx, recipient, candidates })
    }

    /// Which of these holders of the capability won't take which of the candidates: they block the sender, or refused the
    /// message for themselves.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn unwilling(&mut self, holders: &[&str]) -> Result<Vec<Unwilling>, StoreError> {
        let ids: Vec<&str> = self.candidates.iter().map(|c| c.message_id.as_str()).collect();
        sqlx::query_as(
            "SELECT e.message_id, e.account_id, e.session FROM agent_delivery_events e \
             WHERE e.message_id = ANY($1) AND e.recipient = $2 AND e.account_id = ANY($3) \
             AND e.code IN ('blocked', 'no_handler') \
             UNION \
             SELECT d.message_id, b.account_id, NULL FROM agent_deliveries d \
             JOIN agent_blocks b ON b.account_id = ANY($3) AND b.blocked_id = d.sender_account_id \
             WHERE d.message_id = ANY($1) AND d.recipient = $2",
        )
        .bind(ids)
        .bind(self.recipient)
        .bind(holders)
        .fetch_all(&mut *self.tx)
        .await
        .map_err(StoreError::query("agent_deliveries.unwilling"))
    }

    /// Carries the decisions out, one for each candidate, commits, and returns what to publish, in the order it came, and
    /// what is dead or refused now. `replica` and `via` say who delivers and where to.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn finish(
        mut self,
        decisions: &[Decision],
        replica: &str,
        via: &str,
    ) -> Result<(Vec<Granted>, Vec<super::Ended>), StoreError> {
        let chosen = |wanted: &[Decision]| -> Vec<&Candidate> {
            let decided = self.candidates.iter().zip(decisions);
            decided.filter(|(_, decision)| wanted.contains(decision)).map(|(c, _)| c).collect()
        };
        let ids =
            |chosen: &[&Candidate]| chosen.iter().map(|c| c.message_id.clone()).collect::<Vec<String>>();
        let now = now(&mut self.tx).await?;
        let granted = chosen(&[Decision::Grant]);
        let buried = ids(&chosen(&[Decision::Bury]));
        let refused = ids(&chosen(&[Decision::Refuse]));
        let mut log = Vec::new();
        for candidate in chosen(&[Decision::Grant, Decision::TakeBack, Decision::Bury]) {
            if candidate.accepted {
                log.push(DeliveryEvent {
                    attempt: Some(candidate.attempts + 1),
                    session: candidate.owner_session.clone(),
                    ..event(candidate, self.recipient, now, what::TAKEN_BACK)
                });
            }
        }
        for candidate in &granted {
            log.push(DeliveryEvent {
                attempt: Some(candidate.attempts + 1 + i32::from(candidate.accepted)),
                detail: Some(via.to_owned()),
                ..event(candidate, self.recipient, now, what::REDELIVERED)
            });
        }
        let (granted, taken_back) = (ids(&granted), ids(&chosen(&[Decision::TakeBack])));
        let spared = ids(&chosen(&[Decision::Spare]));
        let (extended, waiting) = (ids(&chosen(&[Decision::Extend])), ids(&chosen(&[Decision::Wait])));
        let messages = grant(&mut self.tx, self.recipient, &granted, replica).await?;
        take_back(&mut self.tx, self.recipient, &taken_back).await?;
        extend(&mut self.tx, self.recipient, &extended, LEASE.as_secs_f64()).await?;
        extend(&mut self.tx, self.recipient, &waiting, 10.0).await?;
        spare(&mut self.tx, self.recipient, &spared).await?;
        let mut ended = super::end::bury(&mut self.tx, self.recipient, &buried, now).await?;
        ended.extend(super::end::refuse(&mut self.tx, self.recipient, &refused, now).await?);
        events::add(&mut self.tx, &log).await?;
        for message in messages.iter().filter(|m| m.redeliveries % 32 == 0) {
            events::trim(&mut self.tx, &message.granted.message_id, self.recipient).await?;
        }
        self.tx.commit().await.map_err(StoreError::query("agent_deliveries.lease"))?;
        Ok((messages.into_iter().map(|m| m.granted).collect(), ended))
    }
}

fn event(candidate: &Candidate, recipient: &str, at: Timestamp, what: &str) -> DeliveryEvent {
    DeliveryEvent {
        message_id: candidate.message_id.clone(),
        recipient: recipient.to_owned(),
        at,
        what: what.to_owned(),
        attempt: None,
        account_id: None,
        session: None,
        code: None,
        detail: None,
    }
}

/// The stream's clock.
pub(super) async fn now(conn: &mut PgConnection) -> Result<Timestamp, StoreError> {
    let now: OffsetDateTime = sqlx::query_scalar("SELECT agentnet_stream_now()")
        .fetch_one(conn)
        .await
        .map_err(StoreError::query("agentnet_stream_now"))?;
    Ok(now.into())
}

#[derive(FromRow)]
struct GrantedRow {
    #[sqlx(flatten)]
    granted: Granted,
    redeliveries: i32,
}

/// What is taken back from a session gets the time of it as `receipt_at`, so that the old session's `accepted`, should
/// the stream deliver it once more, is told from the new one's.
async fn grant(
    conn: &mut PgConnection,
    recipient: &str,
    ids: &[String],
    replica: &str,
) -> Result<Vec<GrantedRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "WITH t AS (SELECT agentnet_stream_now() AS now), leased AS (\
             UPDATE agent_deliveries d SET state = 'pending', leased_by = $3, parked = false, \
             attempts = d.attempts + (d.state = 'accepted')::integer, \
             receipt_at = CASE WHEN d.state = 'accepted' THEN t.now ELSE d.receipt_at END, \
             redeliveries = d.redeliveries + 1, redelivered_at = t.now, \
             unanswered = CASE WHEN d.state = 'accepted' THEN 1 ELSE d.unanswered + 1 END, \
             lease_until = t.now + $4 * power(2, CASE WHEN d.state = 'accepted' THEN 0 ELSE least(d.unanswered, 4) END), \
             next_attempt_at = t.now \
                 + $4 * power(2, CASE WHEN d.state = 'accepted' THEN 0 ELSE least(d.unanswered, 4) END) \
             FROM t WHERE d.message_id = ANY($1) AND d.recipient = $2 \
             RETURNING d.message_id, d.attempts, d.redeliveries, d.created_at) \
         SELECT l.message_id, m.envelope, m.signature, l.attempts + 1 AS attempt, l.redeliveries \
         FROM leased l JOIN agent_messages m ON m.message_id = l.message_id ORDER BY l.created_at, l.message_id",
    )
    .bind(ids)
    .bind(recipient)
    .bind(replica)
    .bind(REDELIVERY_LEASE)
    .fetch_all(conn)
    .await
    .map_err(StoreError::query("agent_deliveries.grant"))
}

async fn take_back(conn: &mut PgConnection, recipient: &str, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE agent_deliveries d SET state = 'pending', attempts = d.attempts + 1, receipt_at = t.now, \
         lease_until = NULL, unanswered = 0, next_attempt_at = t.now FROM (SELECT agentnet_stream_now() AS now) t \
         WHERE d.message_id = ANY($1) AND d.recipient = $2",
    )
    .bind(ids)
    .bind(recipient)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_deliveries.take_back"))
}

/// The code keeps it from those that wait for room (`resume_held_back`).
async fn spare(conn: &mut PgConnection, recipient: &str, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE agent_deliveries d SET lease_until = NULL, next_attempt_at = t.now \
             + least(greatest(t.now - d.created_at, $4), $5), \
         last_code = coalesce((SELECT e.code FROM agent_delivery_events e WHERE e.message_id = d.message_id \
             AND e.recipient = d.recipient AND e.code IN ('blocked', 'no_handler') ORDER BY e.at DESC LIMIT 1), $3) \
         FROM (SELECT agentnet_stream_now() AS now) t WHERE d.message_id = ANY($1) AND d.recipient = $2",
    )
    .bind(ids)
    .bind(recipient)
    .bind(ErrorCode::Blocked.as_str())
    .bind(Duration::from_secs(10))
    .bind(HELD_BACK_PAUSE.1)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_deliveries.spare"))
}

pub(super) async fn extend(
    conn: &mut PgConnection,
    recipient: &str,
    ids: &[String],
    seconds: f64,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE agent_deliveries d SET lease_until = t.until, next_attempt_at = t.until \
         FROM (SELECT agentnet_stream_now() + make_interval(secs => $3) AS until) t \
         WHERE d.message_id = ANY($1) AND d.recipient = $2",
    )
    .bind(ids)
    .bind(recipient)
    .bind(seconds)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_deliveries.extend"))
}
