//! Messages between agents, by sender and receiver, newest first. A broadcast is among what each of its receivers got.

use agentnet_proto::{AccountId, cursor::MessageCursor};
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::StoreError;
use crate::access::push_closed;
use crate::messages::{COLUMNS, Message, MessageColumns, MessagePage};

/// Which messages. Each of `ways` selects some; a message that several select is one.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter<'a> {
    /// From whom to whom.
    pub ways: Vec<Way<'a>>,
    /// Only this message.
    pub message_id: Option<&'a str>,
    /// Threads with members that this account isn't in are left out; `None` reads everything.
    pub reader: Option<&'a AccountId>,
}

/// From whom to whom; what is `None` is anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// The sender's account.
    pub from: Option<&'a str>,
    /// The receiver's account.
    pub to: Option<&'a str>,
}

const NEWEST_FIRST: &str = " ORDER BY sent_at DESC, message_id DESC";

/// One page: messages strictly older than `after`, without the first `offset`, at most `limit`, and no more than fit into
/// `max_bytes` of envelopes (but at least one).
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn page(
    pool: &PgPool,
    filter: &HistoryFilter<'_>,
    after: Option<&MessageCursor>,
    offset: i64,
    limit: i64,
    max_bytes: usize,
) -> Result<MessagePage, StoreError> {
    if filter.ways.is_empty() {
        return Ok(MessagePage { messages: Vec::new(), more: false });
    }
    let most = offset + limit + 1;
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(
        ", page_rows FROM (SELECT *, count(*) OVER () AS page_rows, \
         sum(octet_length(envelope)) OVER (ORDER BY sent_at DESC, message_id DESC ROWS UNBOUNDED PRECEDING) \
         - octet_length(envelope) AS bytes_before FROM (SELECT m.* FROM (SELECT sent_at, message_id FROM (",
    );
    for (i, way) in filter.ways.iter().enumerate() {
        if i > 0 {
            sql.push(" UNION ");
        }
        push_direct(&mut sql, filter, way, after, most);
        if let Some(to) = way.to {
            sql.push(" UNION ");
            push_broadcasts(&mut sql, filter, way.from, to, after, most);
        }
    }
    sql.push(") u").push(NEWEST_FIRST).push(" OFFSET ").push_bind(offset);
    sql.push(" LIMIT ").push_bind(limit + 1);
    sql.push(") k JOIN agent_messages m USING (message_id)) p) q WHERE bytes_before < ");
    sql.push_bind(i64::try_from(max_bytes).unwrap_or(i64::MAX)).push(NEWEST_FIRST);
    let rows = sql
        .build_query_as::<MessageColumns>()
        .persistent(false)
        .fetch_all(pool)
        .await
        .map_err(StoreError::query("agent_messages.history"))?;
    let fetched = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let found = rows.first().map_or(0, |row| row.page_rows);
    let mut messages: Vec<Message> = rows.into_iter().map(Message::from).collect();
    messages.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(MessagePage { messages, more: found > limit || found > fetched })
}

fn push_direct(
    sql: &mut QueryBuilder<Postgres>,
    filter: &HistoryFilter<'_>,
    way: &Way<'_>,
    after: Option<&MessageCursor>,
    most: i64,
) {
    sql.push("(SELECT sent_at, message_id FROM agent_messages WHERE true");
    if let Some(to) = way.to {
        sql.push(" AND to_account_id = ").push_bind(to.to_owned());
    }
    push_common(sql, filter, way.from, after);
    sql.push(NEWEST_FIRST).push(" LIMIT ").push_bind(most).push(")");
}

/// Each broadcast's thread holds one message, or few.
fn push_broadcasts(
    sql: &mut QueryBuilder<Postgres>,
    filter: &HistoryFilter<'_>,
    from: Option<&str>,
    to: &str,
    after: Option<&MessageCursor>,
    most: i64,
) {
    sql.push(
        "(SELECT l.sent_at, l.message_id FROM agent_thread_members j JOIN agent_threads c USING (thread_id) \
         CROSS JOIN LATERAL (SELECT sent_at, message_id FROM agent_messages WHERE agent_messages.thread_id = j.thread_id \
         AND from_account_id IS DISTINCT FROM j.account_id",
    );
    push_common(sql, filter, from, after);
    sql.push(") l WHERE c.broadcast AND j.state = 'joined' AND j.account_id = ").push_bind(to.to_owned());
    sql.push(" ORDER BY l.sent_at DESC, l.message_id DESC LIMIT ").push_bind(most).push(")");
}

fn push_common(
    sql: &mut QueryBuilder<Postgres>,
    filter: &HistoryFilter<'_>,
    from: Option<&str>,
    after: Option<&MessageCursor>,
) {
    if let Some(from) = from {
        sql.push(" AND from_account_id = ").push_bind(from.to_owned());
    }
    if let Some(id) = filter.message_id {
        sql.push(" AND message_id = ").push_bind(id.to_owned());
    }
    if let Some(reader) = filter.reader {
        push_closed(sql, "agent_messages.thread_id", Some(reader));
    }
    if let Some(cursor) = after {
        sql.push(" AND (sent_at, message_id) < (").push_bind(cursor.sent_at.to_offset());
        sql.push(", ").push_bind(cursor.message_id.clone()).push(")");
    }
}
