//! `agent_thread_members`: threads that only members post to and read.
//!
//! Every change locks the thread's row first, as the persister does when it adds a message, so that limits hold and a
//! post meets the members before a change or after it, never half of it.

mod change;
mod replay;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::{MemberRole, MemberState};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder, types::Json};
use time::OffsetDateTime;

pub use self::change::{GroupUpdate, Invited, Joined, RoleSet, close, end, invite, join, set_role, update};
pub use self::replay::{MOST_REPLAYED, replay};
use crate::StoreError;
use crate::accounts::object;

/// A thread with members.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
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
    /// Since when nobody posts any more.
    pub closed_at: Option<Timestamp>,
    /// Who closed it.
    pub closed_by: Option<String>,
}

#[derive(FromRow)]
struct GroupColumns {
    thread_id: String,
    title: String,
    subject: String,
    public: bool,
    metadata: Json<Value>,
    closed_at: Option<OffsetDateTime>,
    closed_by: Option<String>,
}

impl From<GroupColumns> for Group {
    fn from(row: GroupColumns) -> Self {
        Self {
            thread_id: row.thread_id,
            title: row.title,
            subject: row.subject,
            public: row.public,
            metadata: object(row.metadata.0),
            closed_at: row.closed_at.map(Timestamp::from),
            closed_by: row.closed_by,
        }
    }
}

/// An account and how it stands to a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// What it may do.
    pub role: MemberRole,
    /// How it stands to the thread.
    pub state: MemberState,
    /// Who invited it.
    pub invited_by: Option<String>,
    /// When it stood to the thread first.
    pub created_at: Timestamp,
    /// When that changed last.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Columns {
    account_id: String,
    username: String,
    role: String,
    state: String,
    invited_by: Option<String>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Columns> for Member {
    fn from(row: Columns) -> Self {
        Self {
            account_id: row.account_id,
            username: row.username,
            role: role_of(&row.role),
            state: state_of(&row.state),
            invited_by: row.invited_by,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// The role that a row names.
pub(crate) fn role_of(text: &str) -> MemberRole {
    match text {
        "owner" => MemberRole::Owner,
        "admin" => MemberRole::Admin,
        _ => MemberRole::Member,
    }
}

/// The state that a row names.
pub(crate) fn state_of(text: &str) -> MemberState {
    match text {
        "invited" => MemberState::Invited,
        "joined" => MemberState::Joined,
        "left" => MemberState::Left,
        _ => MemberState::Ejected,
    }
}

/// A thread to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewGroup<'a> {
    /// Its id.
    pub thread_id: &'a str,
    /// For people.
    pub title: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// Whether any account may join.
    pub public: bool,
    /// What its members should know.
    pub metadata: &'a Map<String, Value>,
    /// Who makes and owns it.
    pub owner: &'a str,
}

/// Makes a thread with its owner in it. `false` when the id is in use, for a thread of any kind.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create(tx: &mut PgConnection, group: &NewGroup<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let failed = StoreError::query("agent_thread_members.create");
    let made = sqlx::query(
        "INSERT INTO agent_threads (thread_id, created_by_account_id, participants, title, public, access, created_at, \
         updated_at, subject, metadata) VALUES ($1, $2, $3, $4, $5, 'members', $6, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(group.thread_id)
    .bind(group.owner)
    .bind(Json([group.owner]))
    .bind(group.title)
    .bind(group.public)
    .bind(now.to_offset())
    .bind(group.subject)
    .bind(Json(group.metadata))
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    if made.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO agent_thread_members (thread_id, account_id, role, state, created_at, updated_at, since) \
         VALUES ($1, $2, 'owner', 'joined', $3, $3, agentnet_stream_now())",
    )
    .bind(group.thread_id)
    .bind(group.owner)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    Ok(true)
}

const GROUP: &str = "SELECT thread_id, title, subject, public, metadata, closed_at, closed_by FROM agent_threads \
     WHERE access = 'members' AND thread_id = ";

async fn find(db: impl PgExecutor<'_>, thread_id: &str, locked: bool) -> Result<Option<Group>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(GROUP);
    sql.push_bind(thread_id.to_owned());
    if locked {
        sql.push(" FOR UPDATE");
    }
    sql.build_query_as::<GroupColumns>()
        .fetch_optional(db)
        .await
        .map(|row| row.map(Group::from))
        .map_err(StoreError::query("agent_thread_members.group"))
}

/// The thread, if it is one with members.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn group(db: impl PgExecutor<'_>, thread_id: &str) -> Result<Option<Group>, StoreError> {
    find(db, thread_id, false).await
}

/// As [`group`], and locks it until the transaction ends.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn lock(tx: &mut PgConnection, thread_id: &str) -> Result<Option<Group>, StoreError> {
    find(tx, thread_id, true).await
}

/// Who is in the thread or invited: owners first, then admins, then in the order they came.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn members(db: impl PgExecutor<'_>, thread_id: &str) -> Result<Vec<Member>, StoreError> {
    select(db, thread_id, None).await
}

/// How an account stands to the thread, if it ever did.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn member(
    db: impl PgExecutor<'_>,
    thread_id: &str,
    account_id: &str,
) -> Result<Option<Member>, StoreError> {
    Ok(select(db, thread_id, Some(account_id)).await?.pop())
}

async fn select(
    db: impl PgExecutor<'_>,
    thread_id: &str,
    account_id: Option<&str>,
) -> Result<Vec<Member>, StoreError> {
    sqlx::query_as::<_, Columns>(
        "SELECT m.account_id, a.username, m.role, m.state, m.invited_by, m.created_at, m.updated_at \
         FROM agent_thread_members m JOIN agent_accounts a USING (account_id) WHERE m.thread_id = $1 \
         AND CASE WHEN $2::text IS NULL THEN m.state IN ('invited', 'joined') ELSE m.account_id = $2 END \
         ORDER BY array_position(ARRAY['owner', 'admin', 'member'], m.role), m.created_at, m.account_id",
    )
    .bind(thread_id)
    .bind(account_id)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(Member::from).collect())
    .map_err(StoreError::query("agent_thread_members.select"))
}

/// Members, thread by thread, each with those of `senders` whom it blocks.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub(crate) async fn joined(
    db: impl PgExecutor<'_>,
    threads: &[&str],
    senders: &[&str],
) -> Result<Vec<(String, String, Vec<String>)>, StoreError> {
    sqlx::query_as(
        "SELECT m.thread_id, m.account_id, ARRAY(SELECT b.blocked_id FROM agent_blocks b \
             WHERE b.account_id = m.account_id AND b.blocked_id = ANY($2)) \
         FROM agent_thread_members m WHERE m.thread_id = ANY($1) AND m.state = 'joined' \
         ORDER BY m.thread_id, m.account_id",
    )
    .bind(threads)
    .bind(senders)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_thread_members.joined"))
}

/// Counts messages that members posted as read by them: what one says oneself is never unread. `posted` holds thread,
/// account and number. The threads are locked.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub(crate) async fn posted(tx: &mut PgConnection, posted: &[(&str, &str, i64)]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agent_thread_members m SET read_messages = m.read_messages + p.n \
         FROM unnest($1::text[], $2::text[], $3::bigint[]) AS p (thread_id, account_id, n) \
         WHERE m.thread_id = p.thread_id AND m.account_id = p.account_id",
    )
    .bind(posted.iter().map(|post| post.0).collect::<Vec<&str>>())
    .bind(posted.iter().map(|post| post.1).collect::<Vec<&str>>())
    .bind(posted.iter().map(|post| post.2).collect::<Vec<i64>>())
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_thread_members.posted"))
}
