//! `agent_thread_members`: threads that only members post to and read.
//!
//! Every change locks the thread's row first, as the persister does when it adds a message, so that limits hold and a
//! post meets the members before a change or after it, never half of it.

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::{MAX_MEMBERS, MemberRole, MemberState};
use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use time::OffsetDateTime;

use crate::StoreError;

/// A thread with members.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Group {
    /// The thread.
    pub thread_id: String,
    /// For people.
    pub title: String,
    /// Whether any account may join.
    pub public: bool,
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
            role: if row.role == "owner" { MemberRole::Owner } else { MemberRole::Member },
            state: match row.state.as_str() {
                "invited" => MemberState::Invited,
                "joined" => MemberState::Joined,
                "left" => MemberState::Left,
                _ => MemberState::Ejected,
            },
            invited_by: row.invited_by,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// A thread to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewGroup<'a> {
    /// Its id.
    pub thread_id: &'a str,
    /// For people.
    pub title: &'a str,
    /// Whether any account may join.
    pub public: bool,
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
         updated_at) VALUES ($1, $2, $3, $4, $5, 'members', $6, $6) ON CONFLICT DO NOTHING",
    )
    .bind(group.thread_id)
    .bind(group.owner)
    .bind(Json([group.owner]))
    .bind(group.title)
    .bind(group.public)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    if made.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO agent_thread_members (thread_id, account_id, role, state, created_at, updated_at) \
         VALUES ($1, $2, 'owner', 'joined', $3, $3)",
    )
    .bind(group.thread_id)
    .bind(group.owner)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    Ok(true)
}

/// The thread, if it is one with members.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn group(db: impl PgExecutor<'_>, thread_id: &str) -> Result<Option<Group>, StoreError> {
    sqlx::query_as(
        "SELECT thread_id, title, public FROM agent_threads WHERE thread_id = $1 AND access = 'members'",
    )
    .bind(thread_id)
    .fetch_optional(db)
    .await
    .map_err(StoreError::query("agent_thread_members.group"))
}

/// As [`group`], and locks it until the transaction ends.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn lock(tx: &mut PgConnection, thread_id: &str) -> Result<Option<Group>, StoreError> {
    sqlx::query_as(
        "SELECT thread_id, title, public FROM agent_threads WHERE thread_id = $1 AND access = 'members' FOR UPDATE",
    )
    .bind(thread_id)
    .fetch_optional(tx)
    .await
    .map_err(StoreError::query("agent_thread_members.lock"))
}

/// Who is in the thread or invited: owners first, then in the order they came.
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
         ORDER BY m.role = 'owner' DESC, m.created_at, m.account_id",
    )
    .bind(thread_id)
    .bind(account_id)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(Member::from).collect())
    .map_err(StoreError::query("agent_thread_members.select"))
}

/// What became of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invited {
    /// These are invited now; who was in the thread or invited already isn't named.
    New(Vec<String>),
    /// These don't exist. Nobody was invited.
    Unknown(Vec<String>),
    /// The thread would have more than [`MAX_MEMBERS`]. Nobody was invited.
    TooMany,
}

/// Invites accounts. The thread is locked.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn invite(
    tx: &mut PgConnection,
    thread_id: &str,
    accounts: &[String],
    by: &str,
    now: Timestamp,
) -> Result<Invited, StoreError> {
    let failed = StoreError::query("agent_thread_members.invite");
    let unknown: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT i FROM unnest($1::text[]) AS i \
         WHERE NOT EXISTS (SELECT FROM agent_accounts a WHERE a.account_id = i) ORDER BY i",
    )
    .bind(accounts)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    if !unknown.is_empty() {
        return Ok(Invited::Unknown(unknown));
    }
    let invited: Vec<String> = sqlx::query_scalar(
        "INSERT INTO agent_thread_members AS m (thread_id, account_id, state, invited_by, created_at, updated_at) \
         SELECT DISTINCT $1, i, 'invited', $3, $4::timestamptz, $4::timestamptz FROM unnest($2::text[]) AS i \
         ON CONFLICT (thread_id, account_id) DO UPDATE \
         SET state = 'invited', role = 'member', invited_by = excluded.invited_by, updated_at = excluded.updated_at \
         WHERE m.state IN ('left', 'ejected') RETURNING m.account_id",
    )
    .bind(thread_id)
    .bind(accounts)
    .bind(by)
    .bind(now.to_offset())
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    if present(tx, thread_id).await? > MAX_MEMBERS {
        return Ok(Invited::TooMany);
    }
    Ok(Invited::New(invited))
}

async fn present(tx: &mut PgConnection, thread_id: &str) -> Result<usize, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM agent_thread_members WHERE thread_id = $1 AND state IN ('invited', 'joined')",
    )
    .bind(thread_id)
    .fetch_one(tx)
    .await
    .map_err(StoreError::query("agent_thread_members.count"))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// What became of a wish to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It is in now.
    Now,
    /// It was in already.
    Before,
    /// It is neither invited, nor may anybody join.
    Refused,
    /// The thread has [`MAX_MEMBERS`].
    TooMany,
}

/// Lets an invited account in, or, where anybody may join, any that wasn't ejected. The thread is locked.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn join(
    tx: &mut PgConnection,
    group: &Group,
    account_id: &str,
    now: Timestamp,
) -> Result<Joined, StoreError> {
    let failed = StoreError::query("agent_thread_members.join");
    match member(&mut *tx, &group.thread_id, account_id).await?.map(|member| member.state) {
        Some(MemberState::Joined) => return Ok(Joined::Before),
        Some(MemberState::Invited) => {}
        Some(MemberState::Left) | None if group.public => {
            if present(tx, &group.thread_id).await? >= MAX_MEMBERS {
                return Ok(Joined::TooMany);
            }
        }
        _ => return Ok(Joined::Refused),
    }
    sqlx::query(
        "INSERT INTO agent_thread_members (thread_id, account_id, state, created_at, updated_at) \
         VALUES ($1, $2, 'joined', $3, $3) ON CONFLICT (thread_id, account_id) \
         DO UPDATE SET state = 'joined', updated_at = excluded.updated_at",
    )
    .bind(&group.thread_id)
    .bind(account_id)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    // A thread's list of members is among its participants, so that lists find it.
    sqlx::query(
        "UPDATE agent_threads SET participants = participants || $2, updated_at = greatest(updated_at, $3) \
         WHERE thread_id = $1 AND NOT participants @> $2",
    )
    .bind(&group.thread_id)
    .bind(Json([account_id]))
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    Ok(Joined::Now)
}

/// Ends the membership or invitation of accounts, with what is still to be delivered to them from there; returns those
/// it ended. When the last owner goes, the one who joined first takes over. The thread is locked.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end(
    tx: &mut PgConnection,
    thread_id: &str,
    accounts: &[String],
    ejected: bool,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let failed = StoreError::query("agent_thread_members.end");
    let ended: Vec<String> = sqlx::query_scalar(
        "UPDATE agent_thread_members SET state = $3, role = 'member', updated_at = $4 \
         WHERE thread_id = $1 AND account_id = ANY($2) AND state IN ('invited', 'joined') RETURNING account_id",
    )
    .bind(thread_id)
    .bind(accounts)
    .bind(if ejected { "ejected" } else { "left" })
    .bind(now.to_offset())
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    sqlx::query("UPDATE agent_threads SET participants = participants - $2::text[] WHERE thread_id = $1")
        .bind(thread_id)
        .bind(&ended)
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
    sqlx::query(
        "UPDATE agent_thread_members SET role = 'owner' WHERE thread_id = $1 AND account_id = (\
             SELECT account_id FROM agent_thread_members WHERE thread_id = $1 AND state = 'joined' \
             ORDER BY created_at, account_id LIMIT 1) \
         AND NOT EXISTS (SELECT FROM agent_thread_members \
                         WHERE thread_id = $1 AND state = 'joined' AND role = 'owner')",
    )
    .bind(thread_id)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    sqlx::query(
        "UPDATE agent_deliveries SET state = 'rejected', last_code = 'thread_forbidden', next_attempt_at = NULL, \
         lease_until = NULL, receipt_at = agentnet_stream_now(), finished_at = agentnet_stream_now() \
         WHERE recipient = ANY($2) AND state IN ('pending', 'accepted') AND state = 'pending' AND thread_id = $1",
    )
    .bind(thread_id)
    .bind(&ended)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    Ok(ended)
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
