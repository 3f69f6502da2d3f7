//! `agent_blobs` and what belongs to it: files in the object store.
//!
//! Rows come before bytes and go after them: an upload's row stands before its first chunk, a blob's row is made when the
//! chunks are durable, and what is removed goes through `agent_blob_garbage`, in the transaction that removes the row.
//! So a crash at any point leaves garbage that a row names, and never a row without bytes.

mod commit;
mod garbage;
mod shares;
mod uploads;

pub use commit::{Committed, Finished, abandon, commit, of_upload};
pub use garbage::{Garbage, collected, expire, expire_uploads, garbage, prune_shares};
pub use shares::{Shared, may_read, share};
pub use uploads::{Begun, Limits, NewUpload, Reserved, Upload, begin, reserve, resume, touch, upload};

use agentnet_proto::Timestamp;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgExecutor, types::Json};
use time::OffsetDateTime;

use crate::StoreError;

/// A blob without the index of its chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct Blob {
    /// Its id.
    pub blob_id: String,
    /// Who owns it.
    pub account_id: String,
    /// Names its chunks in the bucket.
    pub nuid: String,
    /// Name of the file; may be empty.
    pub filename: String,
    /// Content type.
    pub mime_type: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content.
    pub sha256: Vec<u8>,
    /// Size of every chunk but the last, in bytes.
    pub chunk_size: u32,
    /// What the owner says about it.
    pub metadata: Map<String, Value>,
    /// When it was put.
    pub created_at: Timestamp,
    /// When it goes.
    pub expires_at: Timestamp,
}

#[derive(FromRow)]
struct Columns {
    blob_id: String,
    account_id: String,
    nuid: String,
    filename: String,
    mime_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    chunk_size: i32,
    metadata: Json<Map<String, Value>>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

impl From<Columns> for Blob {
    fn from(row: Columns) -> Self {
        Self {
            blob_id: row.blob_id,
            account_id: row.account_id,
            nuid: row.nuid,
            filename: row.filename,
            mime_type: row.mime_type,
            size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
            sha256: row.sha256,
            chunk_size: u32::try_from(row.chunk_size).unwrap_or(1),
            metadata: row.metadata.0,
            created_at: row.created_at.into(),
            expires_at: row.expires_at.into(),
        }
    }
}

/// The columns of a [`Blob`].
macro_rules! columns {
    () => {
        "blob_id, account_id, nuid, filename, mime_type, size_bytes, sha256, chunk_size, metadata, created_at, expires_at"
    };
}
pub(crate) use columns;

/// Hands what a query `gone` removed over to the sweep. It gives `nuid`, `blob_id`, `account_id` and `size_bytes`.
macro_rules! into_garbage {
    () => {
        "INSERT INTO agent_blob_garbage (nuid, blob_id, account_id, size_bytes, since) \
         SELECT nuid, blob_id, account_id, size_bytes, now() FROM gone"
    };
}
pub(crate) use into_garbage;

/// Where a blob's chunks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    /// Their sequences in the bucket's stream.
    pub seqs: Vec<i64>,
    /// Their SHA-256, 32 bytes each.
    pub sha256: Vec<u8>,
}

impl Chunks {
    /// Sequence and SHA-256 of the chunk of that number.
    pub fn get(&self, index: usize) -> Option<(u64, &[u8])> {
        let seq = self.seqs.get(index).and_then(|seq| u64::try_from(*seq).ok())?;
        Some((seq, self.sha256.get(index * 32..(index + 1) * 32)?))
    }
}

/// The blob with its chunks, unless its time is over.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn find(db: impl PgExecutor<'_>, blob_id: &str) -> Result<Option<(Blob, Chunks)>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        #[sqlx(flatten)]
        blob: Columns,
        chunk_seqs: Vec<i64>,
        chunk_sha256: Vec<u8>,
    }
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", chunk_seqs, chunk_sha256 FROM agent_blobs WHERE blob_id = $1 AND expires_at > now()"
    ))
    .bind(blob_id)
    .fetch_optional(db)
    .await
    .map_err(StoreError::query("agent_blobs.find"))?;
    Ok(row.map(|row| (row.blob.into(), Chunks { seqs: row.chunk_seqs, sha256: row.chunk_sha256 })))
}

/// An account's blobs, the latest first, from before the blob `after`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn page(
    db: impl PgExecutor<'_>,
    account_id: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Blob>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM agent_blobs WHERE account_id = $1 AND ($2::text IS NULL OR blob_id < $2) AND expires_at > now() \
         ORDER BY blob_id DESC LIMIT $3"
    ))
    .bind(account_id)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_blobs.page"))?;
    Ok(rows.into_iter().map(Blob::from).collect())
}

/// What an account's blobs and uploads take, those included that were removed and whose bytes are there still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes.
    pub bytes: u64,
    /// Blobs, uploads, and what was removed.
    pub files: u64,
    /// Uploads.
    pub uploads: u64,
}

/// What an account takes of its quota.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn used(db: impl PgExecutor<'_>, account_id: &str) -> Result<Used, StoreError> {
    let (bytes, files, uploads): (i64, i64, i64) = sqlx::query_as(
        "SELECT (b.bytes + u.bytes + g.bytes)::bigint, b.files + u.files + g.files, u.files \
         FROM (SELECT coalesce(sum(size_bytes), 0) AS bytes, count(*) AS files FROM agent_blobs WHERE account_id = $1) b, \
              (SELECT coalesce(sum(reserved_bytes), 0) AS bytes, count(*) AS files FROM agent_blob_uploads \
               WHERE account_id = $1) u, \
              (SELECT coalesce(sum(size_bytes), 0) AS bytes, count(*) AS files FROM agent_blob_garbage \
               WHERE account_id = $1) g",
    )
    .bind(account_id)
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_blobs.used"))?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Used { bytes: count(bytes), files: count(files), uploads: count(uploads) })
}

/// Removes a blob; whether it was there. Its bytes go later.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn delete(db: impl PgExecutor<'_>, blob_id: &str) -> Result<bool, StoreError> {
    sqlx::query(concat!(
        "WITH gone AS (DELETE FROM agent_blobs WHERE blob_id = $1 RETURNING nuid, blob_id, account_id, size_bytes) ",
        into_garbage!()
    ))
    .bind(blob_id)
    .execute(db)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(StoreError::query("agent_blobs.delete"))
}
