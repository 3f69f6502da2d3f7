//! Uploads: what is on its way into the object store, and how it becomes a blob.

use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};

use super::{Blob, Columns, Used, columns, used};
use crate::StoreError;

/// What is to be put.
#[derive(Debug, Clone)]
pub struct NewUpload<'a> {
    /// Its id.
    pub upload_id: &'a str,
    /// What the blob will be.
    pub blob_id: &'a str,
    /// Names its chunks in the bucket.
    pub nuid: &'a str,
    /// Who will own it.
    pub account_id: &'a str,
    /// Name of the file; may be empty.
    pub filename: &'a str,
    /// Content type.
    pub mime_type: &'a str,
    /// Size in bytes, where it is known.
    pub size_bytes: Option<u64>,
    /// SHA-256, where it is known.
    pub sha256: Option<&'a [u8]>,
    /// Size of every chunk but the last, in bytes.
    pub chunk_size: u32,
    /// What the owner says about it.
    pub metadata: &'a Map<String, Value>,
    /// For how long it is kept.
    pub keep_seconds: u64,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub upload_id: String,
    /// Who puts it.
    pub account_id: String,
    /// What the blob will be.
    pub blob_id: String,
    /// Names its chunks in the bucket.
    pub nuid: String,
    /// Name of the file; may be empty.
    pub filename: String,
    /// Content type.
    pub mime_type: String,
    /// Size in bytes, where it is known.
    pub size_bytes: Option<u64>,
    /// Size of every chunk but the last, in bytes.
    pub chunk_size: u32,
    /// What of the quota is set aside for it, in bytes.
    pub reserved_bytes: u64,
}

#[derive(FromRow)]
struct Row {
    upload_id: String,
    account_id: String,
    blob_id: String,
    nuid: String,
    filename: String,
    mime_type: String,
    size_bytes: Option<i64>,
    chunk_size: i32,
    reserved_bytes: i64,
}

impl From<Row> for Upload {
    fn from(row: Row) -> Self {
        Self {
            upload_id: row.upload_id,
            account_id: row.account_id,
            blob_id: row.blob_id,
            nuid: row.nuid,
            filename: row.filename,
            mime_type: row.mime_type,
            size_bytes: row.size_bytes.and_then(|size| u64::try_from(size).ok()),
            chunk_size: u32::try_from(row.chunk_size).unwrap_or(1),
            reserved_bytes: u64::try_from(row.reserved_bytes).unwrap_or(0),
        }
    }
}

macro_rules! upload_columns {
    () => {
        "upload_id, account_id, blob_id, nuid, filename, mime_type, size_bytes, chunk_size, reserved_bytes"
    };
}

/// What one account may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of blobs and uploads.
    pub bytes: u64,
    /// Blobs and uploads.
    pub files: u64,
    /// Uploads at once.
    pub uploads: u64,
}

impl Limits {
    fn allow(&self, used: &Used, more: u64) -> bool {
        used.bytes.saturating_add(more) <= self.bytes
            && used.files < self.files
            && used.uploads < self.uploads
    }
}

/// What became of the wish to put something.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The account has it already.
    Exists(Box<Blob>),
    /// The upload, a new one or one that was interrupted.
    Upload(Box<Upload>),
    /// The quota doesn't allow it.
    Full(Used),
}

/// Sizes in Postgres are signed.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// One account's quota is looked at and changed by one transaction at a time.
pub(super) async fn lock(tx: &mut PgConnection, account_id: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('agentnet_blobs ' || $1, 0))")
        .bind(account_id)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_blob_uploads.lock"))
}

/// The account's blob of that content and name; asked for again, it is kept for as long again.
pub(super) async fn same_content(
    tx: &mut PgConnection,
    account_id: &str,
    sha256: &[u8],
    filename: &str,
    keep_seconds: u64,
) -> Result<Option<Blob>, StoreError> {
    sqlx::query_as::<_, Columns>(concat!(
        "UPDATE agent_blobs SET expires_at = greatest(expires_at, now() + make_interval(secs => $4)) \
         WHERE account_id = $1 AND sha256 = $2 AND filename = $3 AND expires_at > now() RETURNING ",
        columns!()
    ))
    .bind(account_id)
    .bind(sha256)
    .bind(filename)
    .bind(keep_seconds as f64)
    .fetch_optional(tx)
    .await
    .map(|row| row.map(Blob::from))
    .map_err(StoreError::query("agent_blobs.same_content"))
}

/// Begins an upload, goes on with one of the same content, or finds the blob. Runs in a transaction.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn begin(tx: &mut PgConnection, new: &NewUpload<'_>, limits: &Limits) -> Result<Begun, StoreError> {
    let failed = StoreError::query("agent_blob_uploads.begin");
    lock(tx, new.account_id).await?;
    if let Some(sha256) = new.sha256 {
        if let Some(blob) = same_content(tx, new.account_id, sha256, new.filename, new.keep_seconds).await? {
            return Ok(Begun::Exists(Box::new(blob)));
        }
        let open: Option<Row> = sqlx::query_as(concat!(
            "UPDATE agent_blob_uploads SET touched_at = now() WHERE upload_id = (SELECT upload_id FROM agent_blob_uploads \
             WHERE account_id = $1 AND sha256 = $2 AND filename = $3 AND size_bytes = $4 ORDER BY created_at LIMIT 1) \
             RETURNING ",
            upload_columns!()
        ))
        .bind(new.account_id)
        .bind(sha256)
        .bind(new.filename)
        .bind(new.size_bytes.map(signed))
        .fetch_optional(&mut *tx)
        .await
        .map_err(&failed)?;
        if let Some(open) = open {
            return Ok(Begun::Upload(Box::new(open.into())));
        }
    }
    let reserve = new.size_bytes.unwrap_or(0);
    let has = used(&mut *tx, new.account_id).await?;
    if !limits.allow(&has, reserve) {
        return Ok(Begun::Full(has));
    }
    sqlx::query_as::<_, Row>(concat!(
        "INSERT INTO agent_blob_uploads (upload_id, account_id, blob_id, nuid, filename, mime_type, size_bytes, sha256, \
         chunk_size, metadata, keep_seconds, reserved_bytes, created_at, touched_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now(), now()) RETURNING ",
        upload_columns!()
    ))
    .bind(new.upload_id)
    .bind(new.account_id)
    .bind(new.blob_id)
    .bind(new.nuid)
    .bind(new.filename)
    .bind(new.mime_type)
    .bind(new.size_bytes.map(signed))
    .bind(new.sha256)
    .bind(i32::try_from(new.chunk_size).unwrap_or(i32::MAX))
    .bind(Json(new.metadata))
    .bind(signed(new.keep_seconds))
    .bind(signed(reserve))
    .fetch_one(tx)
    .await
    .map(|row| Begun::Upload(Box::new(row.into())))
    .map_err(failed)
}

/// The upload.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn upload(db: impl PgExecutor<'_>, upload_id: &str) -> Result<Option<Upload>, StoreError> {
    sqlx::query_as::<_, Row>(concat!(
        "SELECT ",
        upload_columns!(),
        " FROM agent_blob_uploads WHERE upload_id = $1"
    ))
    .bind(upload_id)
    .fetch_optional(db)
    .await
    .map(|row| row.map(Upload::from))
    .map_err(StoreError::query("agent_blob_uploads.upload"))
}

/// The account's upload of that id, which lives on.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn resume(
    db: impl PgExecutor<'_>,
    upload_id: &str,
    account_id: &str,
) -> Result<Option<Upload>, StoreError> {
    sqlx::query_as::<_, Row>(concat!(
        "UPDATE agent_blob_uploads SET touched_at = now() WHERE upload_id = $1 AND account_id = $2 RETURNING ",
        upload_columns!()
    ))
    .bind(upload_id)
    .bind(account_id)
    .fetch_optional(db)
    .await
    .map(|row| row.map(Upload::from))
    .map_err(StoreError::query("agent_blob_uploads.resume"))
}

/// Says that something was heard of the upload; whether there is one.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn touch(db: impl PgExecutor<'_>, upload_id: &str) -> Result<bool, StoreError> {
    sqlx::query("UPDATE agent_blob_uploads SET touched_at = now() WHERE upload_id = $1")
        .bind(upload_id)
        .execute(db)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(StoreError::query("agent_blob_uploads.touch"))
}

/// What became of the wish to set more of the quota aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It is set aside.
    Yes,
    /// The quota doesn't allow it.
    Full(Used),
    /// There is no such upload.
    Unknown,
}

/// Sets `bytes` in all aside for an upload whose size nobody told. Runs in a transaction.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn reserve(
    tx: &mut PgConnection,
    upload: &Upload,
    bytes: u64,
    limits: &Limits,
) -> Result<Reserved, StoreError> {
    lock(tx, &upload.account_id).await?;
    let Some(now) = self::upload(&mut *tx, &upload.upload_id).await? else { return Ok(Reserved::Unknown) };
    let has = used(&mut *tx, &upload.account_id).await?;
    if has.bytes.saturating_sub(now.reserved_bytes).saturating_add(bytes) > limits.bytes {
        return Ok(Reserved::Full(has));
    }
    sqlx::query(
        "UPDATE agent_blob_uploads SET reserved_bytes = greatest(reserved_bytes, $2), touched_at = now() WHERE upload_id = $1",
    )
    .bind(&upload.upload_id)
    .bind(signed(bytes))
    .execute(tx)
    .await
    .map_err(StoreError::query("agent_blob_uploads.reserve"))?;
    Ok(Reserved::Yes)
}
