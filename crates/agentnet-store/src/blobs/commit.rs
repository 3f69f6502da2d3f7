//! An upload becomes a blob, or is given up.

use agentnet_proto::Timestamp;
use sqlx::{PgConnection, PgExecutor};

use super::uploads::{lock, same_content, signed};
use super::{Blob, Columns, columns};
use crate::StoreError;

/// An object whose chunks are durable.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content.
    pub sha256: &'a [u8],
    /// The chunks' sequences in the bucket's stream.
    pub chunk_seqs: &'a [i64],
    /// The chunks' SHA-256, 32 bytes each.
    pub chunk_sha256: &'a [u8],
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// The blob: made now, before, or by another upload of the same content.
    Blob(Box<Blob>),
    /// There is no such upload.
    Unknown,
}

/// Makes the upload a blob. Asked again, it finds the blob. Runs in a transaction.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn commit(
    tx: &mut PgConnection,
    upload_id: &str,
    account_id: &str,
    finished: &Finished<'_>,
    now: Timestamp,
) -> Result<Committed, StoreError> {
    let failed = StoreError::query("agent_blobs.commit");
    lock(tx, account_id).await?;
    if let Some(blob) = of_upload(&mut *tx, upload_id, account_id).await? {
        return Ok(Committed::Blob(Box::new(blob)));
    }
    // What has expired makes room for the same content.
    sqlx::query(
        "WITH gone AS (DELETE FROM agent_blobs b USING agent_blob_uploads u WHERE u.upload_id = $1 AND u.account_id = $2 \
             AND b.account_id = u.account_id AND b.sha256 = $3 AND b.filename = u.filename AND b.expires_at <= now() \
             RETURNING b.nuid, b.blob_id) \
         INSERT INTO agent_blob_garbage (nuid, blob_id, since) SELECT nuid, blob_id, now() FROM gone",
    )
    .bind(upload_id)
    .bind(account_id)
    .bind(finished.sha256)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    let made: Option<Columns> = sqlx::query_as(concat!(
        "INSERT INTO agent_blobs (blob_id, account_id, upload_id, nuid, filename, mime_type, size_bytes, sha256, chunk_size, \
         chunk_seqs, chunk_sha256, metadata, created_at, expires_at) \
         SELECT blob_id, account_id, upload_id, nuid, filename, mime_type, $3, $4, chunk_size, $5, $6, metadata, $7, \
             now() + make_interval(secs => keep_seconds) FROM agent_blob_uploads WHERE upload_id = $1 AND account_id = $2 \
         ON CONFLICT (account_id, sha256, filename) DO NOTHING RETURNING ",
        columns!()
    ))
    .bind(upload_id)
    .bind(account_id)
    .bind(signed(finished.size_bytes))
    .bind(finished.sha256)
    .bind(finished.chunk_seqs)
    .bind(finished.chunk_sha256)
    .bind(now.to_offset())
    .fetch_optional(&mut *tx)
    .await
    .map_err(&failed)?;
    let kept: Option<(String, String, String, i64)> = sqlx::query_as(
        "DELETE FROM agent_blob_uploads WHERE upload_id = $1 AND account_id = $2 \
         RETURNING nuid, blob_id, filename, keep_seconds",
    )
    .bind(upload_id)
    .bind(account_id)
    .fetch_optional(&mut *tx)
    .await
    .map_err(&failed)?;
    let Some((nuid, blob_id, filename, keep)) = kept else { return Ok(Committed::Unknown) };
    if let Some(made) = made {
        return Ok(Committed::Blob(Box::new(made.into())));
    }
    // Another upload of the same content was faster; these bytes aren't needed.
    sqlx::query("INSERT INTO agent_blob_garbage (nuid, blob_id, since) VALUES ($1, $2, now())")
        .bind(nuid)
        .bind(blob_id)
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
    let keep = u64::try_from(keep).unwrap_or(0);
    let blob = same_content(tx, account_id, finished.sha256, &filename, keep).await?;
    Ok(blob.map_or(Committed::Unknown, |blob| Committed::Blob(Box::new(blob))))
}

/// The blob that an upload of the account became.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn of_upload(
    db: impl PgExecutor<'_>,
    upload_id: &str,
    account_id: &str,
) -> Result<Option<Blob>, StoreError> {
    sqlx::query_as::<_, Columns>(concat!(
        "SELECT ",
        columns!(),
        " FROM agent_blobs WHERE upload_id = $1 AND account_id = $2 AND expires_at > now()"
    ))
    .bind(upload_id)
    .bind(account_id)
    .fetch_optional(db)
    .await
    .map(|row| row.map(Blob::from))
    .map_err(StoreError::query("agent_blobs.of_upload"))
}

/// Gives an upload up; its bytes go later.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn abandon(db: impl PgExecutor<'_>, upload_id: &str) -> Result<bool, StoreError> {
    sqlx::query(
        "WITH gone AS (DELETE FROM agent_blob_uploads WHERE upload_id = $1 RETURNING nuid, blob_id) \
         INSERT INTO agent_blob_garbage (nuid, blob_id, since) SELECT nuid, blob_id, now() FROM gone",
    )
    .bind(upload_id)
    .execute(db)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(StoreError::query("agent_blob_uploads.abandon"))
}
