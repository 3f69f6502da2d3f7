//! What is to go: blobs whose time is over, uploads that nobody goes on with, objects without a row.

use std::time::Duration;

use agentnet_proto::envelope::MAX_TTL;
use sqlx::{FromRow, PgPool};

use super::into_garbage;
use crate::StoreError;

/// Rows of one step.
const STEP: i64 = 500;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// References whose message never came are kept so long: as long as it may be on its way, and a day for clocks and queues.
const SHARE_GRACE: Duration = MAX_TTL.saturating_add(DAY);
/// How often a reference is looked at whose message was there, and one whose message wasn't.
pub(super) const LOOK_AGAIN: Duration = DAY;
pub(super) const LOOK_SOON: Duration = HOUR;

/// An object to be removed from the bucket.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Garbage {
    /// Names its chunks.
    pub nuid: String,
    /// Its name.
    pub blob_id: String,
}

/// Removes blobs whose time is over; returns how many. Their bytes go later.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn expire(pool: &PgPool) -> Result<u64, StoreError> {
    sqlx::query(concat!(
        "WITH gone AS (DELETE FROM agent_blobs WHERE blob_id IN (SELECT blob_id FROM agent_blobs \
             WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING nuid, blob_id, account_id, size_bytes) ",
        into_garbage!()
    ))
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_blobs.expire"))
}

/// Gives uploads up of which nothing was heard for longer than `after`; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn expire_uploads(pool: &PgPool, after: Duration) -> Result<u64, StoreError> {
    sqlx::query(concat!(
        "WITH gone AS (DELETE FROM agent_blob_uploads WHERE upload_id IN (SELECT upload_id FROM agent_blob_uploads \
             WHERE touched_at < now() - make_interval(secs => $2) LIMIT $1 FOR UPDATE SKIP LOCKED) \
             RETURNING nuid, blob_id, account_id, reserved_bytes AS size_bytes) ",
        into_garbage!()
    ))
    .bind(STEP)
    .bind(after.as_secs_f64())
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_blob_uploads.expire"))
}

/// At most `limit` objects that are garbage for longer than `after`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn garbage(pool: &PgPool, after: Duration, limit: i64) -> Result<Vec<Garbage>, StoreError> {
    sqlx::query_as(
        "SELECT nuid, blob_id FROM agent_blob_garbage WHERE since <= now() - make_interval(secs => $1) \
         ORDER BY since LIMIT $2",
    )
    .bind(after.as_secs_f64())
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("agent_blob_garbage.list"))
}

/// The object is out of the bucket.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn collected(pool: &PgPool, nuid: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM agent_blob_garbage WHERE nuid = $1")
        .bind(nuid)
        .execute(pool)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_blob_garbage.collected"))
}

/// Looks at references whose time to be looked at has come, and removes those whose message was there and is gone, or can't
/// come any more; returns how many it looked at.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn prune_shares(pool: &PgPool) -> Result<u64, StoreError> {
    let looked: i64 = sqlx::query_scalar(
        "WITH due AS (SELECT blob_id, message_id, account_id, is_there, \
             NOT is_there AND (confirmed OR shared_at < now() - make_interval(secs => $2)) AS is_over \
             FROM (SELECT s.*, EXISTS (SELECT FROM agent_messages m WHERE m.message_id = s.message_id \
                 AND m.from_account_id = s.account_id) AS is_there \
                 FROM agent_blob_shares s WHERE check_at <= now() ORDER BY check_at LIMIT $1 FOR UPDATE SKIP LOCKED) t), \
         gone AS (DELETE FROM agent_blob_shares s USING due WHERE due.is_over AND s.blob_id = due.blob_id \
             AND s.message_id = due.message_id AND s.account_id = due.account_id), \
         kept AS (UPDATE agent_blob_shares s SET confirmed = s.confirmed OR due.is_there, \
             check_at = now() + make_interval(secs => CASE WHEN due.is_there THEN $3::float8 ELSE $4::float8 END) \
             FROM due WHERE NOT due.is_over AND s.blob_id = due.blob_id AND s.message_id = due.message_id \
             AND s.account_id = due.account_id) \
         SELECT count(*) FROM due",
    )
    .bind(STEP)
    .bind(SHARE_GRACE.as_secs_f64())
    .bind(LOOK_AGAIN.as_secs_f64())
    .bind(LOOK_SOON.as_secs_f64())
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("agent_blob_shares.prune"))?;
    Ok(u64::try_from(looked).unwrap_or(0))
}
