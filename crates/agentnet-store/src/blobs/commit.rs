//! An upload becomes a blob, or is given up.

use agentnet_proto::Timestamp;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};

use super::uploads::{lock, same_content, signed};
use super::{Blob, Columns, columns, into_garbage};
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

/// An upload that ends.
#[derive(FromRow)]
struct Ended {
    blob_id: String,
    nuid: String,
    filename: String,
    mime_type: String,
    chunk_size: i32,
    metadata: Json<Map<String, Value>>,
    keep_seconds: i64,
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
    // First of all the upload's row: whoever gives the upload up at the same time finds none, or we do.
    let upload: Option<Ended> = sqlx::query_as(
        "DELETE FROM agent_blob_uploads WHERE upload_id = $1 AND account_id = $2 \
         RETURNING blob_id, nuid, filename, mime_type, chunk_size, metadata, keep_seconds",
    )
    .bind(upload_id)
    .bind(account_id)
    .fetch_optional(&mut *tx)
    .await
    .map_err(&failed)?;
    let Some(upload) = upload else { return Ok(Committed::Unknown) };
    // What has expired makes room for the same content.
    sqlx::query(concat!(
        "WITH gone AS (DELETE FROM agent_blobs WHERE account_id = $1 AND sha256 = $2 AND filename = $3 \
             AND expires_at <= now() RETURNING nuid, blob_id, account_id, size_bytes) ",
        into_garbage!()
    ))
    .bind(account_id)
    .bind(finished.sha256)
    .bind(&upload.filename)
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    let made: Option<Columns> = sqlx::query_as(concat!(
        "INSERT INTO agent_blobs (blob_id, account_id, upload_id, nuid, filename, mime_type, size_bytes, sha256, chunk_size, \
         chunk_seqs, chunk_sha256, metadata, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(secs => $14)) \
         ON CONFLICT (account_id, sha256, filename) DO NOTHING RETURNING ",
        columns!()
    ))
    .bind(&upload.blob_id)
    .bind(account_id)
    .bind(upload_id)
    .bind(&upload.nuid)
    .bind(&upload.filename)
    .bind(&upload.mime_type)
    .bind(signed(finished.size_bytes))
    .bind(finished.sha256)
    .bind(upload.chunk_size)
    .bind(finished.chunk_seqs)
    .bind(finished.chunk_sha256)
    .bind(&upload.metadata)
    .bind(now.to_offset())
    .bind(upload.keep_seconds as f64)
    .fetch_optional(&mut *tx)
    .await
    .map_err(&failed)?;
    if let Some(made) = made {
        return Ok(Committed::Blob(Box::new(made.into())));
    }
    // Another upload of the same content was faster; these bytes aren't needed.
    sqlx::query(
        "INSERT INTO agent_blob_garbage (nuid, blob_id, account_id, size_bytes, since) VALUES ($1, $2, $3, $4, now())",
    )
    .bind(&upload.nuid)
    .bind(&upload.blob_id)
    .bind(account_id)
    .bind(signed(finished.size_bytes))
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    let keep = u64::try_from(upload.keep_seconds).unwrap_or(0);
    let blob = same_content(tx, account_id, finished.sha256, &upload.filename, keep).await?;
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
    sqlx::query(concat!(
        "WITH gone AS (DELETE FROM agent_blob_uploads WHERE upload_id = $1 \
             RETURNING nuid, blob_id, account_id, reserved_bytes AS size_bytes) ",
        into_garbage!()
    ))
    .bind(upload_id)
    .execute(db)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(StoreError::query("agent_blob_uploads.abandon"))
}
