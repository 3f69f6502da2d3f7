//! Who may read a blob beside its owner: whoever may read a message that refers to it.

use agentnet_proto::AccountId;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::garbage::{LOOK_AGAIN, LOOK_SOON};
use crate::StoreError;
use crate::access::{Reader, Sight, push_sight, sights};

/// Most messages of one account that refer to one blob.
const MAX_SHARES: i64 = 1024;
/// Most references of one account whose messages weren't seen yet.
const MAX_WAITING: i64 = 10_000;
/// Most threads that are looked at for one reader, those it has to do with first, then the latest. What is beyond closes
/// and never opens.
const MAX_THREADS: i64 = 64;

/// What became of a wish to refer to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The message may refer to it.
    Yes,
    /// The account refers to it in 1,024 messages already.
    TooOften,
    /// The account said of 10,000 messages that they would refer to a blob, and none of them came.
    TooManyWaiting,
    /// There is no such blob.
    Gone,
}

/// Notes that a message of `account_id`, which may read the blob, will refer to it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn share(
    pool: &PgPool,
    blob_id: &str,
    message_id: &str,
    account_id: &str,
) -> Result<Shared, StoreError> {
    let failed = StoreError::query("agent_blob_shares.share");
    let (is_there, count): (bool, i64) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM agent_blobs WHERE blob_id = $1 AND expires_at > now()), \
         (SELECT count(*) FROM agent_blob_shares WHERE blob_id = $1 AND account_id = $2 AND message_id <> $3)",
    )
    .bind(blob_id)
    .bind(account_id)
    .bind(message_id)
    .fetch_one(pool)
    .await
    .map_err(&failed)?;
    if !is_there {
        return Ok(Shared::Gone);
    }
    if count >= MAX_SHARES {
        return Ok(Shared::TooOften);
    }
    if waiting(pool, account_id).await? >= MAX_WAITING {
        confirm(pool, account_id).await?;
        if waiting(pool, account_id).await? >= MAX_WAITING {
            return Ok(Shared::TooManyWaiting);
        }
    }
    // Said again, it holds for as long again.
    let noted = sqlx::query(
        "INSERT INTO agent_blob_shares (blob_id, message_id, account_id, shared_at, check_at) \
         VALUES ($1, $2, $3, now(), now() + make_interval(secs => $4)) \
         ON CONFLICT (blob_id, message_id, account_id) DO UPDATE \
             SET shared_at = excluded.shared_at, check_at = excluded.check_at, confirmed = false",
    )
    .bind(blob_id)
    .bind(message_id)
    .bind(account_id)
    .bind(LOOK_SOON.as_secs_f64())
    .execute(pool)
    .await;
    match noted {
        Ok(_) => Ok(Shared::Yes),
        // Deleted in between.
        Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(Shared::Gone),
        Err(error) => Err(failed(error)),
    }
}

/// How many references of the account wait for their message, counted to the limit.
async fn waiting(pool: &PgPool, account_id: &str) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM agent_blob_shares WHERE account_id = $1 AND NOT confirmed LIMIT $2) w",
    )
    .bind(account_id)
    .bind(MAX_WAITING)
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("agent_blob_shares.waiting"))
}

/// Notes which of an account's messages have come, before the rounds of the garbage collection would.
async fn confirm(pool: &PgPool, account_id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agent_blob_shares s SET confirmed = true, check_at = now() + make_interval(secs => $2) \
         FROM agent_messages m WHERE s.account_id = $1 AND NOT s.confirmed AND m.message_id = s.message_id \
         AND m.from_account_id = s.account_id",
    )
    .bind(account_id)
    .bind(LOOK_AGAIN.as_secs_f64())
    .execute(pool)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_blob_shares.confirm"))
}

/// Whether the reader may read a blob of `owner`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn may_read(
    pool: &PgPool,
    reader: &Reader,
    blob_id: &str,
    owner: &str,
) -> Result<bool, StoreError> {
    let account = match reader {
        Reader::Everything => return Ok(true),
        Reader::Open(account) => account.as_ref(),
        Reader::Own(account) => Some(account),
    };
    if account.is_some_and(|account| account.as_str() == owner) {
        return Ok(true);
    }
    let threads = threads(pool, blob_id, account).await?;
    let mut seen = sights(pool, reader, &threads).await?;
    seen.retain(|(_, sight)| *sight != Sight::Nothing);
    if seen.is_empty() {
        return Ok(false);
    }
    let mut sql = QueryBuilder::<Postgres>::new(
        "SELECT EXISTS (SELECT FROM agent_blob_shares b JOIN agent_messages m ON m.message_id = b.message_id \
         AND m.from_account_id = b.account_id WHERE b.blob_id = ",
    );
    sql.push_bind(blob_id).push(" AND (false");
    for (thread, sight) in &seen {
        sql.push(" OR (m.thread_id = ").push_bind(thread);
        push_sight(&mut sql, "m", sight);
        sql.push(")");
    }
    sql.push("))");
    let failed = StoreError::query("agent_blob_shares.may_read");
    sql.build_query_scalar::<bool>().fetch_one(pool).await.map_err(failed)
}

/// Threads with messages that refer to the blob.
async fn threads(
    pool: &PgPool,
    blob_id: &str,
    account: Option<&AccountId>,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT m.thread_id FROM agent_blob_shares b JOIN agent_messages m ON m.message_id = b.message_id \
         AND m.from_account_id = b.account_id WHERE b.blob_id = $1 GROUP BY m.thread_id \
         ORDER BY coalesce(bool_or(m.to_account_id = $2), false) \
             OR EXISTS (SELECT FROM agent_thread_members j WHERE j.thread_id = m.thread_id AND j.account_id = $2 \
                 AND j.state = 'joined') \
             OR bool_or(EXISTS (SELECT FROM agent_deliveries d WHERE d.message_id = m.message_id AND d.has_message \
                 AND (d.recipient = $2 OR d.handler_account_id = $2))) DESC, max(m.received_at) DESC LIMIT $3",
    )
    .bind(blob_id)
    .bind(account.map(AccountId::as_str))
    .bind(MAX_THREADS)
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("agent_blob_shares.threads"))
}
