//! Files: agents put and get them in chunks over requests; only the registry touches the object store (ADR 0007).
//!
//! | module | what it does |
//! |---|---|
//! | `bucket` | the object store, chunk by chunk |
//! | `writing` | an upload: its chunks in order, over any replica, after any restart |
//! | `reading` | ranges, and who may read them |
//! | `sweep` | removes what is over and what was left behind |

mod bucket;
mod config;
mod reading;
mod sweep;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::rpc::BlobInfo;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::blobs::{Blob, Used};
use async_nats::Client;
use data_encoding::HEXLOWER;
use moka::future::Cache;

pub use config::BlobConfig;

use crate::app::{App, Failed, chain};
use bucket::{Bucket, BucketError};
pub(crate) use reading::{is_lost, read, readable};
pub(crate) use sweep::sweep;
pub(crate) use writing::{commit, open, writing};

/// Largest chunk, in bytes. Read back through the stream's leader it is a third larger, and must still fit a message.
const MAX_CHUNK: usize = 512 * 1024;
/// Room in a request or answer for headers and its first line, in bytes.
const FRAME: usize = 16 * 1024;
/// Chunks that a client may have under way at once.
pub(crate) const WINDOW: u32 = 8;
/// Uploads whose state is kept in memory, and for how long after their last chunk. Others are read back.
const MAX_WRITING: u64 = 1024;
const WRITING_IDLE: Duration = Duration::from_secs(10 * 60);
/// Longest work on a chunk.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(4);
/// Longest work of a commit: a whole blob may be read back. Below the time after which garbage is removed.
pub(crate) const COMMIT_DEADLINE: Duration = Duration::from_secs(20);
/// How long what a blob is, and who may read it, is believed without asking again.
const LIFE: Duration = Duration::from_secs(5);
/// How long a refusal holds without asking again, so that asking over and over costs little.
const REFUSED: Duration = Duration::from_millis(150);
/// Chunks of all remembered blobs.
const MAX_KNOWN_CHUNKS: u64 = 200_000;
const MAX_ALLOWED: u64 = 50_000;

/// The object store, and what is remembered about it.
#[derive(Debug)]
pub(crate) struct Blobs {
    pub(crate) bucket: Bucket,
    writing: Cache<String, Arc<writing::Writing>>,
    known: Cache<String, Arc<reading::Known>>,
    allowed: Cache<String, ()>,
    refused: Cache<String, ()>,
}

impl Blobs {
    pub(crate) fn new(client: Client, config: BlobConfig) -> Self {
        let weigh = |_: &String, known: &Arc<reading::Known>| {
            u32::try_from(known.chunks.seqs.len()).unwrap_or(u32::MAX).saturating_add(8)
        };
        Self {
            bucket: Bucket::new(client, config),
            writing: Cache::builder().max_capacity(MAX_WRITING).time_to_idle(WRITING_IDLE).build(),
            known: Cache::builder().max_capacity(MAX_KNOWN_CHUNKS).weigher(weigh).time_to_live(LIFE).build(),
            allowed: Cache::builder().max_capacity(MAX_ALLOWED).time_to_live(LIFE).build(),
            refused: Cache::builder().max_capacity(MAX_ALLOWED).time_to_live(REFUSED).build(),
        }
    }

    /// Forgets a blob or an upload that is gone.
    pub(crate) async fn forget(&self, id: &str) {
        self.known.invalidate(id).await;
        self.writing.invalidate(id).await;
    }
}

/// Size of the chunks of new uploads: what fits a message both ways.
pub(crate) fn chunk_size(app: &App) -> u32 {
    // Base64 takes four bytes for three.
    let room = app.client.max_payload().saturating_sub(FRAME) / 4 * 3;
    u32::try_from(room.min(MAX_CHUNK) / 1024 * 1024).unwrap_or(0).max(1024)
}

/// The blob as the wire has it.
pub(crate) fn info(blob: Blob) -> BlobInfo {
    BlobInfo {
        blob_id: blob.blob_id,
        account_id: blob.account_id,
        filename: blob.filename,
        mime_type: blob.mime_type,
        size_bytes: blob.size_bytes,
        sha256: HEXLOWER.encode(&blob.sha256),
        created_at: blob.created_at.to_string(),
        expires_at: Some(blob.expires_at.to_string()),
        metadata: blob.metadata,
        chunk_size: blob.chunk_size,
    }
}

/// What the object store failed at, said in the log.
fn bucket_failed(app: &App, error: &BucketError) -> Failed {
    app.failures.log("blobs.bucket", &chain(error));
    RpcError::from(ErrorCode::BlobFailed).into()
}

pub(crate) fn quota_full(app: &App, used: &Used) -> RpcError {
    let limits = app.config.blobs.limits();
    let detail = format!(
        "the account's {} blobs and uploads take {} of {} bytes ({} blobs, {} uploads at once at most); delete some, or wait",
        used.files, used.bytes, limits.bytes, limits.files, limits.uploads
    );
    RpcError::with_detail(ErrorCode::BlobQuotaFull, detail)
}

pub(crate) fn too_large(app: &App) -> RpcError {
    let detail = format!("a blob has at most {} bytes", app.config.blobs.max_bytes);
    RpcError::with_detail(ErrorCode::BlobTooLarge, detail)
}

/// A SHA-256 in hex.
pub(crate) fn digest(text: &str) -> Result<Vec<u8>, RpcError> {
    let digest =
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().filter(|digest| digest.len() == 32);
    digest.ok_or_else(|| RpcError::with_detail(ErrorCode::InvalidField, "sha256 must be 64 hex digits"))
}
