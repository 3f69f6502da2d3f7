//! An account's threads with members, and how far it has read them.
//!
//! What is unread is a difference of two counters: the messages of the thread, which the persister counts, and those that
//! the account has read or sent, in its row of `agent_thread_members`.

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::{MemberRole, MemberState};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder, types::Json};
use time::OffsetDateTime;

use crate::StoreError;
use crate::accounts::object;
use crate::members::{role_of, state_of};

/// How far back a marker may lie, in messages.
const MOST_BEHIND: i64 = 1_000;

/// A thread as one of its members sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The thread.
    pub thread_id: String,
    /// For people.
    pub title: String,
    /// What it is about.
    pub subject: String,
    /// Whether any account may join.
    pub public: bool,
    /// What its members should know.
    pub metadata: Map<String, Value>,
    /// What the account may do there.
    pub role: MemberRole,
    /// How it stands to the thread.
    pub state: MemberState,
    /// Who invited it.
    pub invited_by: Option<String>,
    /// How many are in the thread.
    pub members: i64,
    /// Messages stored.
    pub message_count: i64,
    /// Messages of others that aren't read yet.
    pub unread: i64,
    /// The last message that was read, where the account said which.
    pub read_up_to: Option<String>,
    /// When its latest message was sent.
    pub last_message_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// Since when nobody posts any more.
    pub closed_at: Option<Timestamp>,
}

impl Conversation {
    /// What lists are ordered by.
    pub fn activity(&self) -> Timestamp {
        self.last_message_at.unwrap_or(self.updated_at)
    }
}

#[derive(FromRow)]
struct Columns {
    thread_id: String,
    title: String,
    subject: String,
    public: bool,
    metadata: Json<Value>,
    role: String,
    state: String,
    invited_by: Option<String>,
    members: i64,
    message_count: i64,
    unread: i64,
    read_up_to: Option<String>,
    last_message_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
}

impl From<Columns> for Conversation {
    fn from(row: Columns) -> Self {
        Self {
            thread_id: row.thread_id,
            title: row.title,
            subject: row.subject,
            public: row.public,
            metadata: object(row.metadata.0),
            role: role_of(&row.role),
            state: state_of(&row.state),
            invited_by: row.invited_by,
            members: row.members,
            message_count: row.message_count,
            unread: row.unread,
            read_up_to: row.read_up_to,
            last_message_at: row.last_message_at.map(Timestamp::from),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            closed_at: row.closed_at.map(Timestamp::from),
        }
    }
}

/// Which conversations to list.
#[derive(Debug, Clone, Copy)]
pub struct ConversationFilter<'a> {
    /// Whose.
    pub account_id: &'a str,
    /// `invited` or `joined`; `None` is both.
    pub state: Option<&'a str>,
    /// Only those with something unread.
    pub unread_only: bool,
    /// Only threads after this one in the order of the list.
    pub after: Option<(Timestamp, &'a str)>,
    /// Most rows.
    pub limit: i64,
}

/// An account's threads by latest activity, newest first, then by id, last first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &ConversationFilter<'_>,
) -> Result<Vec<Conversation>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT t.thread_id, t.title, t.subject, t.public, t.metadata, m.role, m.state, m.invited_by, \
         (SELECT count(*) FROM agent_thread_members o WHERE o.thread_id = t.thread_id AND o.state = 'joined') AS members, \
         t.message_count, greatest(t.message_count - m.read_messages, 0) AS unread, m.read_up_to, t.last_message_at, \
         t.created_at, t.updated_at, t.closed_at \
         FROM agent_thread_members m JOIN agent_threads t USING (thread_id) WHERE m.account_id = ",
    );
    sql.push_bind(filter.account_id.to_owned());
    match filter.state {
        Some(state) => sql.push(" AND m.state = ").push_bind(state.to_owned()),
        None => sql.push(" AND m.state IN ('invited', 'joined')"),
    };
    if filter.unread_only {
        sql.push(" AND t.message_count > m.read_messages");
    }
    if let Some((at, id)) = filter.after {
        sql.push(" AND (coalesce(t.last_message_at, t.updated_at), t.thread_id) < (")
            .push_bind(at.to_offset());
        sql.push(", ").push_bind(id.to_owned()).push(")");
    }
    sql.push(" ORDER BY coalesce(t.last_message_at, t.updated_at) DESC, t.thread_id DESC LIMIT ");
    sql.push_bind(filter.limit);
    sql.build_query_as::<Columns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Conversation::from).collect())
        .map_err(StoreError::query("agent_thread_members.conversations"))
}

/// What became of a read marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many messages of others aren't read yet.
    Unread(i64),
    /// The account isn't in such a thread.
    NotAMember,
    /// There is no such message in the thread.
    UnknownMessage,
}

/// Moves a member's marker forward: to `up_to`, or to the end. Behind a marker at most 1,000 messages are counted; one
/// that lies further back changes nothing, as does one behind the marker that is there.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn read(
    tx: &mut PgConnection,
    thread_id: &str,
    account_id: &str,
    up_to: Option<&str>,
    now: Timestamp,
) -> Result<Read, StoreError> {
    let failed = StoreError::query("agent_thread_members.read");
    let mut newer = 0;
    if let Some(message_id) = up_to {
        // What the account sent itself is counted as read already.
        let counted: Option<(i64, i64)> = sqlx::query_as(
            "SELECT count(n.message_id), \
                 count(n.message_id) FILTER (WHERE n.from_account_id IS DISTINCT FROM $3) \
             FROM agent_messages u LEFT JOIN LATERAL (SELECT message_id, from_account_id FROM agent_messages m \
                 WHERE m.thread_id = $1 AND (m.sent_at, m.message_id) > (u.sent_at, u.message_id) \
                 ORDER BY m.sent_at, m.message_id LIMIT $4) n ON true \
             WHERE u.message_id = $2 AND u.thread_id = $1 GROUP BY u.message_id",
        )
        .bind(thread_id)
        .bind(message_id)
        .bind(account_id)
        .bind(MOST_BEHIND + 1)
        .fetch_optional(&mut *tx)
        .await
        .map_err(&failed)?;
        let Some((all, of_others)) = counted else { return Ok(Read::UnknownMessage) };
        newer = if all > MOST_BEHIND { i64::MAX } else { of_others };
    }
    let unread: Option<i64> = sqlx::query_scalar(
        "UPDATE agent_thread_members m SET \
             read_messages = greatest(m.read_messages, t.message_count - $3), \
             read_up_to = CASE WHEN t.message_count - $3 >= m.read_messages THEN coalesce($4, m.read_up_to) \
                               ELSE m.read_up_to END, \
             read_at = $5 \
         FROM agent_threads t WHERE t.thread_id = m.thread_id AND m.thread_id = $1 AND m.account_id = $2 \
             AND m.state = 'joined' RETURNING greatest(t.message_count - m.read_messages, 0)",
    )
    .bind(thread_id)
    .bind(account_id)
    .bind(newer)
    .bind(up_to)
    .bind(now.to_offset())
    .fetch_optional(tx)
    .await
    .map_err(&failed)?;
    Ok(unread.map_or(Read::NotAMember, Read::Unread))
}
