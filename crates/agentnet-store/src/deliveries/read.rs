//! Deliveries for people who look: filtered, in keyset pages, newest message first.

use agentnet_proto::{Timestamp, cursor::DeliveryCursor, envelope::CAPABILITY_PREFIX};
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::StoreError;
use crate::access::{Reader, push_closed};

/// A message and one of its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message_id: String,
    /// An account id, or `capability:<name>`.
    pub recipient: String,
    /// `pending`, `accepted`, `processed`, `rejected`, `expired` or `dead`.
    pub state: String,
    /// Who sent it.
    pub sender_account_id: Option<String>,
    /// The message's thread.
    pub thread_id: Option<String>,
    /// When it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// When the network took it.
    pub created_at: Timestamp,
    /// The account that answered last.
    pub handler_account_id: Option<String>,
    /// The session that answered last.
    pub owner_session: Option<String>,
    /// How often a session accepted it and was lost.
    pub attempts: i32,
    /// How often the network delivered it again.
    pub redeliveries: i32,
    /// When the network tries next, if it does.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether it waits for somebody to be there.
    pub parked: bool,
    /// When the network stops trying.
    pub expires_at: Option<Timestamp>,
    /// Code of the last refusal, or of why it ended.
    pub last_code: Option<String>,
    /// The same for people.
    pub last_detail: Option<String>,
    /// When somebody first accepted it.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(FromRow)]
pub(super) struct Columns {
    message_id: String,
    recipient: String,
    state: String,
    sender_account_id: Option<String>,
    thread_id: Option<String>,
    sent_at: OffsetDateTime,
    created_at: OffsetDateTime,
    handler_account_id: Option<String>,
    owner_session: Option<String>,
    attempts: i32,
    redeliveries: i32,
    next_attempt_at: Option<OffsetDateTime>,
    parked: bool,
    expires_at: Option<OffsetDateTime>,
    last_code: Option<String>,
    last_detail: Option<String>,
    accepted_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

pub(super) const COLUMNS: &str = "d.message_id, d.recipient, d.state, d.sender_account_id, d.thread_id, m.sent_at, \
     d.created_at, d.handler_account_id, d.owner_session, d.attempts, d.redeliveries, d.next_attempt_at, d.parked, \
     d.expires_at, d.last_code, d.last_detail, d.accepted_at, d.finished_at";

impl From<Columns> for Delivery {
    fn from(row: Columns) -> Self {
        Self {
            message_id: row.message_id,
            recipient: row.recipient,
            state: row.state,
            sender_account_id: row.sender_account_id,
            thread_id: row.thread_id,
            sent_at: row.sent_at.into(),
            created_at: row.created_at.into(),
            handler_account_id: row.handler_account_id,
            owner_session: row.owner_session,
            attempts: row.attempts,
            redeliveries: row.redeliveries,
            next_attempt_at: row.next_attempt_at.map(Timestamp::from),
            parked: row.parked,
            expires_at: row.expires_at.map(Timestamp::from),
            last_code: row.last_code,
            last_detail: row.last_detail,
            accepted_at: row.accepted_at.map(Timestamp::from),
            finished_at: row.finished_at.map(Timestamp::from),
        }
    }
}

/// Which deliveries; every field narrows.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryFilter<'a> {
    /// Who reads.
    pub reader: &'a Reader,
    /// Of this message.
    pub message_id: Option<&'a str>,
    /// In this thread.
    pub thread_id: Option<&'a str>,
    /// To this account or `capability:<name>`.
    pub recipient: Option<&'a str>,
    /// From this account.
    pub sender_account_id: Option<&'a str>,
    /// In this state.
    pub state: Option<&'a str>,
}

/// At most `limit` deliveries strictly behind `after`. An account sees what it sent, was sent or handled; unless the
/// filter names a message, a thread or the account itself, that is what it sent.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn page(
    db: impl PgExecutor<'_>,
    filter: &DeliveryFilter<'_>,
    after: Option<&DeliveryCursor>,
    limit: i64,
) -> Result<Vec<Delivery>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS);
    sql.push(" FROM agent_messages m JOIN agent_deliveries d ON d.message_id = m.message_id WHERE true");
    push_reader(&mut sql, filter);
    let equals = [
        ("d.message_id", filter.message_id),
        ("m.thread_id", filter.thread_id),
        ("d.recipient", filter.recipient),
        ("m.from_account_id", filter.sender_account_id),
        ("d.state", filter.state),
    ];
    for (column, value) in equals {
        if let Some(value) = value {
            sql.push(" AND ").push(column).push(" = ").push_bind(value.to_owned());
        }
    }
    match filter.state {
        // Word for word the predicates of partial indexes: few rows, whatever the size of the tables.
        Some("pending" | "accepted") => {
            sql.push(" AND d.state IN ('pending', 'accepted')");
        }
        Some("rejected" | "expired" | "dead") => {
            sql.push(" AND d.state IN ('rejected', 'expired', 'dead')");
        }
        // Ended deliveries have no index by recipient; the messages to an account do.
        _ => {
            let account = filter.recipient.filter(|name| !name.starts_with(CAPABILITY_PREFIX));
            if let (Some(account), None) = (account, filter.message_id.or(filter.thread_id)) {
                sql.push(" AND m.to_account_id = ").push_bind(account.to_owned());
            }
        }
    }
    if let Some(cursor) = after {
        let at = cursor.sent_at.to_offset();
        sql.push(" AND (m.sent_at, m.message_id) <= (").push_bind(at);
        sql.push(", ").push_bind(cursor.message_id.clone()).push(")");
        sql.push(" AND ((m.sent_at, m.message_id) < (").push_bind(at);
        sql.push(", ").push_bind(cursor.message_id.clone()).push(") OR d.recipient > ");
        sql.push_bind(cursor.recipient.clone()).push(")");
    }
    sql.push(" ORDER BY m.sent_at DESC, m.message_id DESC, d.recipient LIMIT ").push_bind(limit);
    // The best plan depends on the values.
    sql.build_query_as::<Columns>()
        .persistent(false)
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Delivery::from).collect())
        .map_err(StoreError::query("agent_deliveries.page"))
}

fn push_reader(sql: &mut QueryBuilder<Postgres>, filter: &DeliveryFilter<'_>) {
    let account = match filter.reader {
        Reader::Everything => return,
        Reader::Open(account) => account.as_ref(),
        Reader::Own(account) => {
            let me = account.as_str();
            sql.push(" AND (m.from_account_id = ").push_bind(me.to_owned());
            let named = filter.message_id.or(filter.thread_id).is_some();
            if named || filter.recipient.is_some() || filter.sender_account_id.is_some() {
                sql.push(" OR d.recipient = ").push_bind(me.to_owned());
                sql.push(" OR d.handler_account_id = ").push_bind(me.to_owned());
            }
            sql.push(")");
            Some(account)
        }
    };
    push_closed(sql, "m.thread_id", account);
}
