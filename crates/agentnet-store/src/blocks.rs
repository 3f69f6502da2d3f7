//! `agent_blocks`: whose messages an account refuses.
//!
//! The persister asks with every batch of messages, so that a block holds whether or not the recipient is there; what was
//! stored before the block ends with it, or when the network would deliver it again.

use agentnet_proto::rpc::MAX_BLOCKS;
use agentnet_proto::{ErrorCode, Timestamp};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::{StoreError, accounts, deliveries::Ended};

/// Most deliveries that one block ends at once. What is left, or in others' hands at that moment, ends when it is due.
const MOST_ENDED: i64 = 1_000;

/// A blocked account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The account.
    pub blocked_id: String,
    /// Its username; `None` for one that isn't there.
    pub username: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Columns {
    blocked_id: String,
    username: Option<String>,
    created_at: OffsetDateTime,
}

/// What became of a wish to block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocking {
    /// It is blocked now; this waited for the account from there and ended.
    New(Vec<Ended>),
    /// It was blocked already.
    Before,
    /// The account blocks [`MAX_BLOCKS`] others.
    TooMany,
}

/// Refuses what `blocked_id` sends to `account_id` from now on, and what of it waits to be delivered.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add(
    tx: &mut PgConnection,
    account_id: &str,
    blocked_id: &str,
    now: Timestamp,
) -> Result<Blocking, StoreError> {
    let failed = StoreError::query("agent_blocks.add");
    accounts::lock(tx, account_id).await?;
    let known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agent_blocks WHERE account_id = $1 AND blocked_id = $2)",
    )
    .bind(account_id)
    .bind(blocked_id)
    .fetch_one(&mut *tx)
    .await
    .map_err(&failed)?;
    if known {
        return Ok(Blocking::Before);
    }
    let added = sqlx::query(
        "INSERT INTO agent_blocks (account_id, blocked_id, created_at) \
         SELECT $1, $2, $3 WHERE (SELECT count(*) FROM agent_blocks WHERE account_id = $1) < $4",
    )
    .bind(account_id)
    .bind(blocked_id)
    .bind(now.to_offset())
    .bind(MAX_BLOCKS)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    if added.rows_affected() == 0 {
        return Ok(Blocking::TooMany);
    }
    let ended: Vec<String> = sqlx::query_scalar(
        "WITH late AS (SELECT message_id FROM agent_deliveries WHERE recipient = $1 AND sender_account_id = $2 \
             AND state IN ('pending', 'accepted') AND state = 'pending' \
             ORDER BY created_at, message_id LIMIT $4 FOR UPDATE SKIP LOCKED) \
         UPDATE agent_deliveries d SET state = 'rejected', last_code = $3, next_attempt_at = NULL, lease_until = NULL, \
         receipt_at = agentnet_stream_now(), finished_at = agentnet_stream_now() \
         FROM late WHERE d.message_id = late.message_id AND d.recipient = $1 RETURNING d.message_id",
    )
    .bind(account_id)
    .bind(blocked_id)
    .bind(ErrorCode::Blocked.as_str())
    .bind(MOST_ENDED)
    .fetch_all(tx)
    .await
    .map_err(&failed)?;
    let ended = ended.into_iter().map(|message_id| Ended {
        message_id,
        recipient: account_id.to_owned(),
        sender_account_id: Some(blocked_id.to_owned()),
        state: "rejected".to_owned(),
        code: ErrorCode::Blocked.as_str().to_owned(),
        last_code: None,
    });
    Ok(Blocking::New(ended.collect()))
}

/// Takes the messages of `blocked_id` again; whether they were refused.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn remove(db: impl PgExecutor<'_>, account_id: &str, blocked_id: &str) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM agent_blocks WHERE account_id = $1 AND blocked_id = $2")
        .bind(account_id)
        .bind(blocked_id)
        .execute(db)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(StoreError::query("agent_blocks.remove"))
}

/// Whom an account blocks, by id, those behind `after`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(
    db: impl PgExecutor<'_>,
    account_id: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Blocked>, StoreError> {
    sqlx::query_as::<_, Columns>(
        "SELECT b.blocked_id, a.username, b.created_at FROM agent_blocks b \
         LEFT JOIN agent_accounts a ON a.account_id = b.blocked_id \
         WHERE b.account_id = $1 AND b.blocked_id > $2 ORDER BY b.blocked_id LIMIT $3",
    )
    .bind(account_id)
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(db)
    .await
    .map(|rows| {
        let blocked = |row: Columns| Blocked {
            blocked_id: row.blocked_id,
            username: row.username,
            created_at: row.created_at.into(),
        };
        rows.into_iter().map(blocked).collect()
    })
    .map_err(StoreError::query("agent_blocks.list"))
}

/// Whether an account blocks anybody.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn any(db: impl PgExecutor<'_>, account_id: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM agent_blocks WHERE account_id = $1)")
        .bind(account_id)
        .fetch_one(db)
        .await
        .map_err(StoreError::query("agent_blocks.any"))
}

/// Those of the pairs of sender and recipient of which the recipient blocks the sender.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub(crate) async fn among(
    db: impl PgExecutor<'_>,
    senders: &[&str],
    recipients: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    sqlx::query_as(
        "SELECT b.blocked_id, b.account_id FROM unnest($1::text[], $2::text[]) AS p (sender, recipient) \
         JOIN agent_blocks b ON b.account_id = p.recipient AND b.blocked_id = p.sender",
    )
    .bind(senders)
    .bind(recipients)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_blocks.among"))
}
