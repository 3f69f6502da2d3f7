//! `agent_delivery_events`: what happened to a delivery beyond the straight way.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// Most events of one delivery that receipts may add up to.
const MOST: i64 = 100;
/// How many are left when a delivery's oldest ones are dropped.
const KEPT: i64 = 64;

/// What an event tells.
pub mod what {
    /// The network delivered it again.
    pub const REDELIVERED: &str = "redelivered";
    /// A session had accepted it, neither finished nor stayed.
    pub const TAKEN_BACK: &str = "taken_back";
    /// An operator asked to try again.
    pub const REDRIVEN: &str = "redriven";
    /// Its time to live ran out.
    pub const EXPIRED: &str = "expired";
    /// Its attempts were used up.
    pub const DEAD: &str = "dead";
    /// A recipient refused it for now.
    pub const HELD_BACK: &str = "held_back";
    /// A recipient refused it for good.
    pub const REJECTED: &str = "rejected";
    /// A recipient had seen it before.
    pub const DUPLICATE: &str = "duplicate";
    /// A recipient took it after it was delivered again.
    pub const ACCEPTED: &str = "accepted";
    /// A recipient finished it after it was delivered again.
    pub const PROCESSED: &str = "processed";
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEvent {
    /// The message.
    pub message_id: String,
    /// Whose delivery.
    pub recipient: String,
    /// When, by the stream's clock.
    pub at: Timestamp,
    /// One of [`what`].
    pub what: String,
    /// Which attempt it belongs to, from 1.
    pub attempt: Option<i32>,
    /// The account that it went to or that said so.
    pub account_id: Option<String>,
    /// The session that said so.
    pub session: Option<String>,
    /// A code of the protocol.
    pub code: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
}

#[derive(FromRow)]
struct Columns {
    message_id: String,
    recipient: String,
    at: OffsetDateTime,
    what: String,
    attempt: Option<i32>,
    account_id: Option<String>,
    session: Option<String>,
    code: Option<String>,
    detail: Option<String>,
}

impl From<Columns> for DeliveryEvent {
    fn from(row: Columns) -> Self {
        Self {
            message_id: row.message_id,
            recipient: row.recipient,
            at: row.at.into(),
            what: row.what,
            attempt: row.attempt,
            account_id: row.account_id,
            session: row.session,
            code: row.code,
            detail: row.detail,
        }
    }
}

/// Adds events. Copies of those that are there change nothing, and a delivery that has many already gets no more.
pub(crate) async fn add(conn: &mut PgConnection, events: &[DeliveryEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let texts = |column: fn(&DeliveryEvent) -> Option<&str>| events.iter().map(column).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO agent_delivery_events (message_id, recipient, at, what, attempt, account_id, session, code, detail) \
         SELECT v.* FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[], \
         $7::text[], $8::text[], $9::text[]) \
         AS v (message_id, recipient, at, what, attempt, account_id, session, code, detail) \
         WHERE (SELECT count(*) FROM agent_delivery_events e \
                WHERE e.message_id = v.message_id AND e.recipient = v.recipient) < $10 \
         ORDER BY v.message_id, v.recipient, v.at, v.what ON CONFLICT DO NOTHING",
    )
    .bind(texts(|e| Some(&e.message_id)))
    .bind(texts(|e| Some(&e.recipient)))
    .bind(events.iter().map(|e| e.at.to_offset()).collect::<Vec<_>>())
    .bind(texts(|e| Some(&e.what)))
    .bind(events.iter().map(|e| e.attempt).collect::<Vec<_>>())
    .bind(texts(|e| e.account_id.as_deref()))
    .bind(texts(|e| e.session.as_deref()))
    .bind(texts(|e| e.code.as_deref()))
    .bind(texts(|e| e.detail.as_deref()))
    .bind(MOST)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_delivery_events.add"))
}

/// Drops the oldest events of one delivery.
pub(super) async fn trim(
    conn: &mut PgConnection,
    message_id: &str,
    recipient: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM agent_delivery_events WHERE message_id = $1 AND recipient = $2 AND at < \
         (SELECT at FROM agent_delivery_events WHERE message_id = $1 AND recipient = $2 \
          ORDER BY at DESC OFFSET $3 LIMIT 1)",
    )
    .bind(message_id)
    .bind(recipient)
    .bind(KEPT)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_delivery_events.trim"))
}

/// The events of a message, oldest first.
pub(super) async fn of_message(
    db: impl PgExecutor<'_>,
    message_id: &str,
) -> Result<Vec<DeliveryEvent>, StoreError> {
    sqlx::query_as::<_, Columns>(
        "SELECT message_id, recipient, at, what, attempt, account_id, session, code, detail \
         FROM agent_delivery_events WHERE message_id = $1 ORDER BY at, what LIMIT 2000",
    )
    .bind(message_id)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(DeliveryEvent::from).collect())
    .map_err(StoreError::query("agent_delivery_events.of_message"))
}
