//! Changes of who is in a thread, and of what it says about itself. The thread is locked.

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::{MemberRole, MemberState};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use super::{Group, member};
use crate::StoreError;

/// What became of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invited {
    /// These are invited now; who was in the thread or invited already isn't named.
    New(Vec<String>),
    /// These don't exist. Nobody was invited.
    Unknown(Vec<String>),
    /// The thread would have more members and invited than it may. Nobody was invited.
    TooMany,
}

/// Invites accounts; at most `max` are in the thread or invited then.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn invite(
    tx: &mut PgConnection,
    thread_id: &str,
    accounts: &[String],
    by: &str,
    max: usize,
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
    // What is said from now on is for them too.
    let invited: Vec<String> = sqlx::query_scalar(
        "INSERT INTO agent_thread_members AS m (thread_id, account_id, state, invited_by, created_at, updated_at, since, \
             read_messages) \
         SELECT DISTINCT $1, i, 'invited', $3, $4::timestamptz, $4::timestamptz, agentnet_stream_now(), \
             (SELECT message_count FROM agent_threads WHERE thread_id = $1) FROM unnest($2::text[]) AS i \
         ON CONFLICT (thread_id, account_id) DO UPDATE \
         SET state = 'invited', role = 'member', invited_by = excluded.invited_by, updated_at = excluded.updated_at, \
             since = excluded.since, read_messages = excluded.read_messages, read_up_to = NULL, read_at = NULL \
         WHERE m.state IN ('left', 'ejected') RETURNING m.account_id",
    )
    .bind(thread_id)
    .bind(accounts)
    .bind(by)
    .bind(now.to_offset())
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    if present(tx, thread_id).await? > max {
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
    /// The thread has as many members and invited as it may.
    TooMany,
}

/// Lets an invited account in, or, where anybody may join, any that wasn't ejected. Whoever joins a thread without an
/// owner owns it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn join(
    tx: &mut PgConnection,
    group: &Group,
    account_id: &str,
    max: usize,
    now: Timestamp,
) -> Result<Joined, StoreError> {
    let failed = StoreError::query("agent_thread_members.join");
    match member(&mut *tx, &group.thread_id, account_id).await?.map(|member| member.state) {
        Some(MemberState::Joined) => return Ok(Joined::Before),
        Some(MemberState::Invited) => {}
        Some(MemberState::Left) | None if group.public => {
            if present(tx, &group.thread_id).await? >= max {
                return Ok(Joined::TooMany);
            }
        }
        _ => return Ok(Joined::Refused),
    }
    sqlx::query(
        "INSERT INTO agent_thread_members AS m (thread_id, account_id, role, state, created_at, updated_at, since, \
             read_messages) \
         SELECT $1, $2, o.role, 'joined', $3, $3, agentnet_stream_now(), \
             (SELECT message_count FROM agent_threads WHERE thread_id = $1) \
         FROM (SELECT CASE WHEN EXISTS (SELECT FROM agent_thread_members \
                   WHERE thread_id = $1 AND state = 'joined' AND role = 'owner') THEN 'member' ELSE 'owner' END AS role) o \
         ON CONFLICT (thread_id, account_id) DO UPDATE SET \
             state = 'joined', updated_at = excluded.updated_at, \
             role = CASE WHEN excluded.role = 'owner' THEN 'owner' ELSE m.role END, \
             since = CASE WHEN m.state = 'invited' THEN coalesce(m.since, excluded.since) ELSE excluded.since END, \
             read_messages = CASE WHEN m.state = 'invited' THEN m.read_messages ELSE excluded.read_messages END",
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
/// it ended. When the last owner goes, the one who joined first takes over.
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

/// What a thread says about itself; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupUpdate<'a> {
    /// For people.
    pub title: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// Whether any account may join.
    pub public: Option<bool>,
    /// What its members should know.
    pub metadata: Option<&'a Map<String, Value>>,
}

/// Changes what a thread says about itself.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn update(
    tx: &mut PgConnection,
    thread_id: &str,
    update: &GroupUpdate<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agent_threads SET title = coalesce($2, title), subject = coalesce($3, subject), \
         public = coalesce($4, public), metadata = coalesce($5, metadata), updated_at = greatest(updated_at, $6) \
         WHERE thread_id = $1",
    )
    .bind(thread_id)
    .bind(update.title)
    .bind(update.subject)
    .bind(update.public)
    .bind(update.metadata.map(Json))
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_threads.update"))
}

/// Closes a thread; `false` when it was closed before. What waits to be delivered still is; invitations end.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn close(
    tx: &mut PgConnection,
    thread_id: &str,
    by: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let failed = StoreError::query("agent_threads.close");
    let closed = sqlx::query(
        "UPDATE agent_threads SET closed_at = $3, closed_by = $2, updated_at = greatest(updated_at, $3) \
         WHERE thread_id = $1 AND closed_at IS NULL",
    )
    .bind(thread_id)
    .bind(by)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE agent_thread_members SET state = 'left', updated_at = $2 WHERE thread_id = $1 AND state = 'invited'",
    )
    .bind(thread_id)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map_err(&failed)?;
    Ok(true)
}

/// What became of a change of role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleSet {
    /// It has the role now.
    Now,
    /// It had it.
    Before,
    /// It is neither in the thread nor invited.
    NotAMember,
    /// It is the thread's last owner.
    LastOwner,
}

/// Gives a member, or who is invited to be one, a role.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set_role(
    tx: &mut PgConnection,
    thread_id: &str,
    account_id: &str,
    role: MemberRole,
    now: Timestamp,
) -> Result<RoleSet, StoreError> {
    let failed = StoreError::query("agent_thread_members.set_role");
    let Some(known) = member(&mut *tx, thread_id, account_id).await? else { return Ok(RoleSet::NotAMember) };
    if !matches!(known.state, MemberState::Joined | MemberState::Invited) {
        return Ok(RoleSet::NotAMember);
    }
    if known.role == role {
        return Ok(RoleSet::Before);
    }
    let owners: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM agent_thread_members WHERE thread_id = $1 AND state = 'joined' AND role = 'owner' \
         AND account_id <> $2",
    )
    .bind(thread_id)
    .bind(account_id)
    .fetch_one(&mut *tx)
    .await
    .map_err(&failed)?;
    if known.role == MemberRole::Owner && owners == 0 {
        return Ok(RoleSet::LastOwner);
    }
    let role = match role {
        MemberRole::Owner => "owner",
        MemberRole::Admin => "admin",
        MemberRole::Member | MemberRole::Other => "member",
    };
    sqlx::query(
        "UPDATE agent_thread_members SET role = $3, updated_at = $4 WHERE thread_id = $1 AND account_id = $2",
    )
    .bind(thread_id)
    .bind(account_id)
    .bind(role)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map_err(&failed)?;
    Ok(RoleSet::Now)
}
