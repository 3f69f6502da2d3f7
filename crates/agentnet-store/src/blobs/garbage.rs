//! What is to go: blobs whose time is over, uploads that nobody goes on with, objects without a row.

use std::time::Duration;

use sqlx::{FromRow, PgPool};

use crate::StoreError;

/// Rows of one step.
const STEP: i64 = 500;
/// References whose message isn't there are kept so long.
const SHARE_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

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
    sqlx::query(
        "WITH gone AS (DELETE FROM agent_blobs WHERE blob_id IN (SELECT blob_id FROM agent_blobs \
             WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING nuid, blob_id) \
         INSERT INTO agent_blob_garbage (nuid, blob_id, since) SELECT nuid, blob_id, now() FROM gone",
    )
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
    sqlx::query(
        "WITH gone AS (DELETE FROM agent_blob_uploads WHERE upload_id IN (SELECT upload_id FROM agent_blob_uploads \
             WHERE touched_at < now() - make_interval(secs => $2) LIMIT $1 FOR UPDATE SKIP LOCKED) \
             RETURNING nuid, blob_id) \
         INSERT INTO agent_blob_garbage (nuid, blob_id, since) SELECT nuid, blob_id, now() FROM gone",
    )
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

/// Looks at references not looked at for a day, and removes those whose message isn't there; returns how many it looked at.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn prune_shares(pool: &PgPool) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH due AS (SELECT blob_id, message_id, account_id, EXISTS (SELECT FROM agent_messages m \
                 WHERE m.message_id = s.message_id AND m.from_account_id = s.account_id) AS is_there \
             FROM agent_blob_shares s WHERE checked_at < now() - make_interval(secs => $2) ORDER BY checked_at LIMIT $1 \
             FOR UPDATE SKIP LOCKED), \
         gone AS (DELETE FROM agent_blob_shares s USING due WHERE NOT due.is_there AND s.blob_id = due.blob_id \
             AND s.message_id = due.message_id AND s.account_id = due.account_id) \
         UPDATE agent_blob_shares s SET checked_at = now() FROM due \
         WHERE due.is_there AND s.blob_id = due.blob_id AND s.message_id = due.message_id \
         AND s.account_id = due.account_id",
    )
    .bind(STEP)
    .bind(SHARE_GRACE.as_secs_f64())
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_blob_shares.prune"))
}
