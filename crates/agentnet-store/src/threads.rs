//! `agent_threads`, for reading: the persister keeps the rows.

use agentnet_proto::{AccountId, Timestamp};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder, types::Json};
use time::OffsetDateTime;

use crate::StoreError;
use crate::access::Reader;
use crate::account_search::like_pattern;
use crate::accounts::strings;

/// Most participants that are kept of one thread, the first to be stored: a row must fit into one answer (256 account
/// ids are at most 33 KB), and sender and addressee are what anybody says they are in open mode.
pub const MAX_PARTICIPANTS: usize = 256;

/// Whether the text can be an account at all, so that it counts as a participant.
pub(crate) fn is_participant(account: &str) -> bool {
    AccountId::new(account).is_ok()
}

/// A thread with its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The thread.
    pub thread_id: String,
    /// Sender of its first message.
    pub created_by_account_id: Option<String>,
    /// Accounts that sent or were addressed in it, the first [`MAX_PARTICIPANTS`].
    pub participants: Vec<String>,
    /// When its first message was stored.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// Messages stored.
    pub message_count: i64,
    /// Bytes of their payloads as the original prints them.
    pub byte_count: i64,
    /// Estimated tokens of the payloads.
    pub approx_tokens: i64,
    /// How many messages the newest checkpoint covers.
    pub latest_checkpoint_end: i64,
    /// Messages after it that aren't of kind system.
    pub pending_raw_messages: i64,
    /// When its latest message was sent.
    pub last_message_at: Option<Timestamp>,
    /// Whether only members post and read.
    pub has_members: bool,
    /// Who wrote to whom, see [`crate::access`].
    pub addressed: Vec<String>,
    /// Whether the row was cut to what its reader may know.
    pub is_partial: bool,
}

#[derive(FromRow)]
struct ThreadColumns {
    thread_id: String,
    created_by_account_id: Option<String>,
    participants: Json<Value>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    message_count: i64,
    byte_count: i64,
    approx_tokens: i64,
    latest_checkpoint_end: i64,
    pending_raw_messages: i64,
    last_message_at: Option<OffsetDateTime>,
    has_members: bool,
    addressed: Vec<String>,
}

impl From<ThreadColumns> for Thread {
    fn from(row: ThreadColumns) -> Self {
        Self {
            thread_id: row.thread_id,
            created_by_account_id: row.created_by_account_id,
            participants: strings(row.participants.0)
                .into_iter()
                .filter(|account| is_participant(account))
                .take(MAX_PARTICIPANTS)
                .collect(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            message_count: row.message_count,
            byte_count: row.byte_count,
            approx_tokens: row.approx_tokens,
            latest_checkpoint_end: row.latest_checkpoint_end,
            pending_raw_messages: row.pending_raw_messages,
            last_message_at: row.last_message_at.map(Timestamp::from),
            has_members: row.has_members,
            addressed: row.addressed,
            is_partial: false,
        }
    }
}

impl Thread {
    /// What lists are ordered by.
    pub fn activity(&self) -> Timestamp {
        self.last_message_at.unwrap_or(self.updated_at)
    }
}

const COLUMNS: &str = "SELECT thread_id, created_by_account_id, participants, created_at, updated_at, message_count, \
     byte_count, approx_tokens, latest_checkpoint_end, pending_raw_messages, last_message_at, \
     access = 'members' AS has_members, addressed FROM agent_threads";

/// Which threads to list.
#[derive(Debug, Clone, Copy)]
pub struct ThreadFilter<'a> {
    /// Part of the thread id, in any case; "" is all.
    pub query: &'a str,
    /// Only threads this account takes part in.
    pub participant: Option<&'a str>,
    /// Who reads.
    pub reader: &'a Reader,
    /// Only threads after this one in the order of the list.
    pub after: Option<(Timestamp, &'a str)>,
    /// Most rows.
    pub limit: i64,
}

/// Threads by latest activity, newest first, then by id, last first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, filter: &ThreadFilter<'_>) -> Result<Vec<Thread>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(COLUMNS);
    sql.push(" WHERE true");
    push_query(&mut sql, filter.query);
    if let Some(account) = filter.participant {
        sql.push(" AND participants @> ").push_bind(Json([account.to_owned()]));
    }
    push_reader(&mut sql, filter.reader);
    if let Some((at, id)) = filter.after {
        sql.push(" AND active_minute <= ").push_bind(at.to_offset());
        sql.push(" AND (coalesce(last_message_at, updated_at), thread_id) < (").push_bind(at.to_offset());
        sql.push(", ").push_bind(id.to_owned()).push(")");
    }
    // The minute changes nothing about the order: it lets the index bring the rows, to be sorted within each minute.
    sql.push(
        " ORDER BY active_minute DESC, coalesce(last_message_at, updated_at) DESC, thread_id DESC LIMIT ",
    )
    .push_bind(filter.limit);
    // Planned with the values: a rare participant wants the GIN index, a busy one the order of the list.
    sql.build_query_as::<ThreadColumns>()
        .persistent(false)
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(|row| seen(row, filter.reader)).collect())
        .map_err(StoreError::query("agent_threads.list"))
}

/// Threads whose id holds the text. The trigram index leaves out the ids that the network makes (`0004_thread_ids.sql`):
/// its predicate stands here word for word where the text can't be in one of them, or is one. What is left, a part of a
/// made id, is looked for newest first and without an index: half a second at a million threads.
fn push_query(sql: &mut QueryBuilder<Postgres>, query: &str) {
    const NOT_MADE: &str = "thread_id !~ '^thread_[0-9a-f]{32}$'";
    if query.is_empty() {
        return;
    }
    let (pattern, made) = (like_pattern(query), query.to_lowercase());
    match place_in_made_id(&made) {
        Place::None => {
            sql.push(" AND ").push(NOT_MADE).push(" AND thread_id ILIKE ").push_bind(pattern);
        }
        Place::Part => {
            sql.push(" AND thread_id ILIKE ").push_bind(pattern);
        }
        Place::Whole => {
            sql.push(" AND (thread_id = ").push_bind(made);
            sql.push(" OR ").push(NOT_MADE).push(" AND thread_id ILIKE ").push_bind(pattern).push(")");
        }
    }
}

/// Where a text may stand in a thread id that the network made: `thread_` and 32 hex digits.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    None,
    Part,
    Whole,
}

fn place_in_made_id(text: &str) -> Place {
    const PREFIX: &str = "thread_";
    const DIGITS: usize = 32;
    let are_digits = |rest: &str| {
        rest.len() <= DIGITS && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    // A part of the prefix, or some end of it and digits.
    let ends = (0..=PREFIX.len()).filter_map(|start| PREFIX.get(start..));
    let is_in = PREFIX.contains(text) || ends.filter_map(|end| text.strip_prefix(end)).any(are_digits);
    match (is_in, text.len() == PREFIX.len() + DIGITS) {
        (false, _) => Place::None,
        (true, false) => Place::Part,
        (true, true) => Place::Whole,
    }
}

/// Only threads the reader is in some way part of.
fn push_reader(sql: &mut QueryBuilder<Postgres>, reader: &Reader) {
    let account = match reader {
        Reader::Everything => return,
        Reader::Open(account) => account.as_ref(),
        Reader::Own(account) => {
            // Members are participants too.
            sql.push(" AND participants @> ").push_bind(Json([account.to_string()]));
            Some(account)
        }
    };
    sql.push(
        " AND (access = 'open' OR EXISTS (SELECT FROM agent_thread_members m \
         WHERE m.thread_id = agent_threads.thread_id AND m.state = 'joined' AND m.account_id = ",
    );
    sql.push_bind(account.map(ToString::to_string)).push("))");
}

fn seen(row: ThreadColumns, reader: &Reader) -> Thread {
    let mut thread = Thread::from(row);
    thread.cut_for(reader);
    thread
}

/// One thread, as far as the reader may see it; `None` for one that doesn't exist or is closed to it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_id(
    db: impl PgExecutor<'_>,
    thread_id: &str,
    reader: &Reader,
) -> Result<Option<Thread>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(COLUMNS);
    sql.push(" WHERE thread_id = ").push_bind(thread_id);
    push_reader(&mut sql, reader);
    sql.build_query_as::<ThreadColumns>()
        .fetch_optional(db)
        .await
        .map(|row| row.map(|row| seen(row, reader)))
        .map_err(StoreError::query("agent_threads.by_id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_text_may_stand_in_a_made_id() {
        let id = "thread_0123456789abcdef0123456789abcdef";
        for start in 0..id.len() {
            for end in start + 1..=id.len() {
                let place = if end - start == id.len() { Place::Whole } else { Place::Part };
                assert_eq!(place_in_made_id(&id[start..end]), place, "{}", &id[start..end]);
            }
        }
        for text in
            ["weekly", "thread-", "d__a", "thread_x", "_0g", &format!("{id}0"), &id.replace('_', "__")]
        {
            assert_eq!(place_in_made_id(text), Place::None, "{text}");
        }
    }
}
