//! `agent_messages`, for reading: keyset pages, newest first. The persister writes the rows.

use agentnet_proto::{Timestamp, cursor::MessageCursor};
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::StoreError;

/// The kinds that have no index of their own, see the migration.
const COMMON_KINDS: [&str; 3] = ["direct", "request", "reply"];

/// A stored message with the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// What it answers or follows.
    pub parent_message_id: Option<String>,
    /// Sender's account.
    pub from_account_id: Option<String>,
    /// Sender's session.
    pub from_session_tag: Option<String>,
    /// Target account.
    pub to_account_id: Option<String>,
    /// Logical target.
    pub to_agent: String,
    /// Kind of message.
    pub kind: String,
    /// Schema version of its envelope.
    pub schema_version: String,
    /// The sender's idempotency key.
    pub idempotency_key: Option<String>,
    /// Trace it belongs to.
    pub trace_id: Option<String>,
    /// When it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// When the network took it.
    pub received_at: Timestamp,
    /// Always `received`.
    pub status: String,
    /// The exact bytes that were sent.
    pub envelope: Vec<u8>,
}

#[derive(FromRow)]
struct MessageColumns {
    message_id: String,
    thread_id: String,
    parent_message_id: Option<String>,
    from_account_id: Option<String>,
    from_session_tag: Option<String>,
    to_account_id: Option<String>,
    to_agent: String,
    kind: String,
    schema_version: String,
    idempotency_key: Option<String>,
    trace_id: Option<String>,
    sent_at: OffsetDateTime,
    received_at: OffsetDateTime,
    status: String,
    envelope: Vec<u8>,
    page_rows: i64,
}

impl From<MessageColumns> for Message {
    fn from(row: MessageColumns) -> Self {
        Self {
            message_id: row.message_id,
            thread_id: row.thread_id,
            parent_message_id: row.parent_message_id,
            from_account_id: row.from_account_id,
            from_session_tag: row.from_session_tag,
            to_account_id: row.to_account_id,
            to_agent: row.to_agent,
            kind: row.kind,
            schema_version: row.schema_version,
            idempotency_key: row.idempotency_key,
            trace_id: row.trace_id,
            sent_at: row.sent_at.into(),
            received_at: row.received_at.into(),
            status: row.status,
            envelope: row.envelope,
        }
    }
}

/// Which messages; every field narrows.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageFilter<'a> {
    /// Words that all occur in the payload.
    pub words: Option<&'a str>,
    /// Only this thread.
    pub thread_id: Option<&'a str>,
    /// Only from this account.
    pub from_account_id: Option<&'a str>,
    /// Only to this account.
    pub to_account_id: Option<&'a str>,
    /// Only of this kind.
    pub kind: Option<&'a str>,
    /// Sent at or after.
    pub from: Option<Timestamp>,
    /// Sent at or before.
    pub to: Option<Timestamp>,
}

/// A part of the messages a filter selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more: bool,
}

/// One page: messages strictly older than `after`, at most `limit`, and no more than fit into `max_bytes` of
/// envelopes (but at least one).
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn page(
    db: impl PgExecutor<'_>,
    filter: &MessageFilter<'_>,
    after: Option<&MessageCursor>,
    limit: i64,
    max_bytes: usize,
) -> Result<MessagePage, StoreError> {
    // The sizes are summed up before a single envelope is read, so that 200 large ones can't fill our memory.
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT * FROM (SELECT *, count(*) OVER () AS page_rows, \
         sum(octet_length(envelope)) OVER (ORDER BY sent_at DESC, message_id DESC ROWS UNBOUNDED PRECEDING) \
         - octet_length(envelope) AS bytes_before FROM (SELECT message_id, thread_id, parent_message_id, \
         from_account_id, from_session_tag, to_account_id, to_agent, kind, schema_version, idempotency_key, trace_id, \
         sent_at, received_at, status, envelope FROM agent_messages WHERE true",
    );
    push_filter(&mut sql, filter);
    if let Some(cursor) = after {
        sql.push(" AND (sent_at, message_id) < (").push_bind(cursor.sent_at.to_offset());
        sql.push(", ").push_bind(cursor.message_id.clone()).push(")");
    }
    sql.push(" ORDER BY sent_at DESC, message_id DESC LIMIT ").push_bind(limit + 1);
    sql.push(") p) q WHERE bytes_before < ").push_bind(i64::try_from(max_bytes).unwrap_or(i64::MAX));
    sql.push(" ORDER BY sent_at DESC, message_id DESC");
    // Without words the plan is the same for all values; with them it depends on how common they are.
    let rows = sql
        .build_query_as::<MessageColumns>()
        .persistent(filter.words.is_none() && filter.kind.is_none())
        .fetch_all(db)
        .await
        .map_err(StoreError::query("agent_messages.page"))?;
    let fetched = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let found = rows.first().map_or(0, |row| row.page_rows);
    let mut messages: Vec<Message> = rows.into_iter().map(Message::from).collect();
    messages.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(MessagePage { messages, more: found > limit || found > fetched })
}

fn push_filter(sql: &mut QueryBuilder<Postgres>, filter: &MessageFilter<'_>) {
    let equals = [
        ("thread_id", filter.thread_id),
        ("from_account_id", filter.from_account_id),
        ("to_account_id", filter.to_account_id),
        ("kind", filter.kind),
    ];
    for (column, value) in equals {
        if let Some(value) = value {
            sql.push(" AND ").push(column).push(" = ").push_bind(value.to_owned());
        }
    }
    if filter.kind.is_some_and(|kind| !COMMON_KINDS.contains(&kind)) {
        // Word for word the predicate of the partial index.
        sql.push(" AND kind NOT IN ('direct', 'request', 'reply')");
    }
    if let Some(from) = filter.from {
        sql.push(" AND sent_at >= ").push_bind(from.to_offset());
    }
    if let Some(to) = filter.to {
        sql.push(" AND sent_at <= ").push_bind(to.to_offset());
    }
    if let Some(words) = filter.words {
        sql.push(" AND search @@ plainto_tsquery('simple', ").push_bind(words.to_owned()).push(")");
    }
}
