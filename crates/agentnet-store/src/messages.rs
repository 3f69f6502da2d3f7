//! `agent_messages`, for reading: keyset pages, newest first. The persister writes the rows.

use agentnet_proto::{AccountId, Timestamp, cursor::MessageCursor};
use sqlx::{FromRow, PgExecutor, PgPool, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::StoreError;
use crate::access::{Reader, Sight, push_closed, push_sight, sight};

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
    /// The signature header that came with them.
    pub signature: Option<String>,
}

impl Message {
    /// The key that its signature header names.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        self.signature.as_deref()?.split(' ').nth(1)
    }
}

#[derive(FromRow)]
pub(crate) struct MessageColumns {
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
    signature: Option<String>,
    pub(crate) page_rows: i64,
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
            signature: row.signature,
        }
    }
}

/// Which messages; every field narrows.
#[derive(Debug, Clone, Copy)]
pub struct MessageFilter<'a> {
    /// Who reads.
    pub reader: &'a Reader,
    /// Words that all occur in the payload.
    pub words: Option<&'a str>,
    /// Only this message.
    pub message_id: Option<&'a str>,
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

impl<'a> MessageFilter<'a> {
    /// Everything that this reader may read.
    pub const fn of(reader: &'a Reader) -> Self {
        Self {
            reader,
            words: None,
            message_id: None,
            thread_id: None,
            from_account_id: None,
            to_account_id: None,
            kind: None,
            from: None,
            to: None,
        }
    }
}

/// A part of the messages a filter selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more: bool,
}

pub(crate) const COLUMNS: &str = "message_id, thread_id, parent_message_id, from_account_id, from_session_tag, to_account_id, \
     to_agent, kind, schema_version, idempotency_key, trace_id, sent_at, received_at, status, envelope, signature";
const NEWEST_FIRST: &str = " ORDER BY sent_at DESC, message_id DESC";

/// The thread of a stored message.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn thread_of(pool: &PgPool, message_id: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT thread_id FROM agent_messages WHERE message_id = $1")
        .bind(message_id)
        .fetch_optional(pool)
        .await
        .map_err(StoreError::query("agent_messages.thread_of"))
}

/// These messages in the order in which they were sent, as many as fit into `max_bytes` of envelopes (but at least one).
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_ids(
    db: impl PgExecutor<'_>,
    ids: &[&str],
    max_bytes: usize,
) -> Result<Vec<Message>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, 0::bigint AS page_rows FROM (SELECT *, sum(octet_length(envelope)) OVER (ORDER BY received_at, message_id \
         ROWS UNBOUNDED PRECEDING) - octet_length(envelope) AS bytes_before FROM agent_messages \
         WHERE message_id = ANY($1)) m WHERE bytes_before < $2 ORDER BY received_at, message_id"
    );
    sqlx::query_as::<_, MessageColumns>(sqlx::AssertSqlSafe(sql))
        .bind(ids)
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Message::from).collect())
        .map_err(StoreError::query("agent_messages.by_ids"))
}

/// One page: messages strictly older than `after`, at most `limit`, and no more than fit into `max_bytes` of
/// envelopes (but at least one).
///
/// An account that reads everywhere (no thread given) finds its own mail and what is in threads it is a member of;
/// what else it may read of an open thread it finds by naming that thread.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn page(
    pool: &PgPool,
    filter: &MessageFilter<'_>,
    after: Option<&MessageCursor>,
    limit: i64,
    max_bytes: usize,
) -> Result<MessagePage, StoreError> {
    let page = Page { filter, after, limit: limit + 1 };
    // The sizes are summed up before a single envelope is read, so that 200 large ones can't fill our memory.
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT * FROM (SELECT *, count(*) OVER () AS page_rows, \
         sum(octet_length(envelope)) OVER (ORDER BY sent_at DESC, message_id DESC ROWS UNBOUNDED PRECEDING) \
         - octet_length(envelope) AS bytes_before FROM (",
    );
    match (filter.reader, filter.thread_id) {
        (Reader::Everything, _) => page.push(&mut sql, |_| ()),
        (reader, Some(thread_id)) => {
            let sight = sight(pool, reader, thread_id).await?;
            if sight == Sight::Nothing {
                return Ok(MessagePage { messages: Vec::new(), more: false });
            }
            page.push(&mut sql, |sql| push_sight(sql, "agent_messages", &sight));
        }
        (Reader::Open(account), None) => {
            page.push(&mut sql, |sql| push_closed(sql, "agent_messages.thread_id", account.as_ref()));
        }
        (Reader::Own(account), None) => page.push_own(&mut sql, account),
    }
    sql.push(") p) q WHERE bytes_before < ").push_bind(i64::try_from(max_bytes).unwrap_or(i64::MAX));
    sql.push(NEWEST_FIRST);
    // Without words the plan is the same for all values; with them it depends on how common they are, and so it does
    // on how much there is that a reader doesn't see.
    let is_plain = filter.words.is_none() && filter.kind.is_none() && *filter.reader == Reader::Everything;
    let rows = sql
        .build_query_as::<MessageColumns>()
        .persistent(is_plain)
        .fetch_all(pool)
        .await
        .map_err(StoreError::query("agent_messages.page"))?;
    let fetched = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let found = rows.first().map_or(0, |row| row.page_rows);
    let mut messages: Vec<Message> = rows.into_iter().map(Message::from).collect();
    messages.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(MessagePage { messages, more: found > limit || found > fetched })
}

struct Page<'a> {
    filter: &'a MessageFilter<'a>,
    after: Option<&'a MessageCursor>,
    limit: i64,
}

impl Page<'_> {
    /// One keyset page of what the filter selects, narrowed by `narrow`.
    fn push(&self, sql: &mut QueryBuilder<Postgres>, narrow: impl FnOnce(&mut QueryBuilder<Postgres>)) {
        sql.push("SELECT ").push(COLUMNS).push(" FROM agent_messages WHERE true");
        push_filter(sql, self.filter);
        narrow(sql);
        if let Some(cursor) = self.after {
            sql.push(" AND (sent_at, message_id) < (").push_bind(cursor.sent_at.to_offset());
            sql.push(", ").push_bind(cursor.message_id.clone()).push(")");
        }
        sql.push(NEWEST_FIRST).push(" LIMIT ").push_bind(self.limit);
    }

    /// What an account sent, what it was sent, and what is in its threads with members: each a page of its own index,
    /// then merged. A thread that was closed to it since is left out, its own mail there included.
    fn push_own(&self, sql: &mut QueryBuilder<Postgres>, account: &AccountId) {
        let me = account.as_str();
        sql.push("SELECT * FROM ((");
        self.push(sql, |sql| {
            sql.push(" AND from_account_id = ").push_bind(me.to_owned());
            push_closed(sql, "agent_messages.thread_id", Some(account));
        });
        sql.push(") UNION ALL (");
        self.push(sql, |sql| {
            sql.push(" AND to_account_id = ").push_bind(me.to_owned());
            sql.push(" AND from_account_id IS DISTINCT FROM ").push_bind(me.to_owned());
            push_closed(sql, "agent_messages.thread_id", Some(account));
        });
        sql.push(
            ") UNION ALL (SELECT l.* FROM agent_thread_members j JOIN agent_threads c USING (thread_id) \
             CROSS JOIN LATERAL (",
        );
        self.push(sql, |sql| {
            sql.push(" AND agent_messages.thread_id = j.thread_id AND from_account_id IS DISTINCT FROM ");
            sql.push_bind(me.to_owned())
                .push(" AND to_account_id IS DISTINCT FROM ")
                .push_bind(me.to_owned());
        });
        sql.push(") l WHERE j.state = 'joined' AND c.access = 'members' AND j.account_id = ");
        sql.push_bind(me.to_owned()).push(")) u").push(NEWEST_FIRST);
        sql.push(" LIMIT ").push_bind(self.limit);
    }
}

fn push_filter(sql: &mut QueryBuilder<Postgres>, filter: &MessageFilter<'_>) {
    let equals = [
        ("message_id", filter.message_id),
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
