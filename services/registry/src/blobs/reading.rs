//! Reading ranges of blobs, and who may.

use std::sync::Arc;

use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::access::Reader;
use agentnet_store::blobs::{self, Blob, Chunks};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::bucket_failed;
use crate::access;
use crate::app::{App, Failed};
use crate::caller::Caller;

/// A blob and where its bytes are.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) blob: Blob,
    pub(super) chunks: Chunks,
}

/// The blob of that id.
///
/// # Errors
/// [`ErrorCode::BlobGone`]; Postgres.
async fn known(app: &App, blob_id: &str) -> Result<Arc<Known>, Failed> {
    if let Some(known) = app.blobs.known.get(blob_id).await {
        return Ok(known);
    }
    let found = blobs::find(app.store.pool(), blob_id).await?;
    let (blob, chunks) = found.ok_or_else(|| RpcError::from(ErrorCode::BlobGone))?;
    let known = Arc::new(Known { blob, chunks });
    app.blobs.known.insert(blob_id.to_owned(), Arc::clone(&known)).await;
    Ok(known)
}

/// The blob of that id, if the caller may read it.
///
/// # Errors
/// [`ErrorCode::BlobGone`], [`ErrorCode::BlobForbidden`]; as [`access::reader`]; Postgres.
pub(crate) async fn readable(app: &App, caller: &Caller, blob_id: &str) -> Result<Arc<Known>, Failed> {
    let reader = access::reader(app, caller).await?;
    let known = known(app, blob_id).await?;
    allowed(app, &reader, &known.blob).await?;
    Ok(known)
}

/// Whether the reader may read the blob. Leave is remembered for a few seconds, refusal for a moment: it may pass as soon as
/// the message with the reference is stored.
///
/// # Errors
/// [`ErrorCode::BlobForbidden`]; Postgres.
async fn allowed(app: &App, reader: &Reader, blob: &Blob) -> Result<(), Failed> {
    let account = match reader {
        Reader::Everything => return Ok(()),
        Reader::Open(account) => account.as_ref().map_or("", |account| account.as_str()),
        Reader::Own(account) => account.as_str(),
    };
    let key = format!("{account} {}", blob.blob_id);
    if app.blobs.allowed.contains_key(&key) {
        return Ok(());
    }
    if app.blobs.refused.contains_key(&key) {
        return Err(RpcError::from(ErrorCode::BlobForbidden).into());
    }
    if !blobs::may_read(app.store.pool(), reader, &blob.blob_id, &blob.account_id).await? {
        app.blobs.refused.insert(key, ()).await;
        return Err(RpcError::from(ErrorCode::BlobForbidden).into());
    }
    app.blobs.allowed.insert(key, ()).await;
    Ok(())
}

/// Whether the bucket lost the blob: its last chunk, which was written last, isn't there.
///
/// # Errors
/// Postgres; the object store.
pub(crate) async fn is_lost(app: &App, blob_id: &str) -> Result<bool, Failed> {
    let Some((blob, chunks)) = blobs::find(app.store.pool(), blob_id).await? else { return Ok(false) };
    let Some((seq, _)) = chunks.seqs.len().checked_sub(1).and_then(|last| chunks.get(last)) else {
        return Ok(false);
    };
    let found = app.blobs.bucket.chunk(&blob.nuid, seq).await.map_err(|error| bucket_failed(app, &error))?;
    if found.is_none() {
        tracing::error!(blob_id, seq, "a chunk is missing from the object store; the blob is put anew");
    }
    Ok(found.is_none())
}

/// Bytes of the blob from `offset` on: at most `length`, and none beyond the end of the stored chunk.
///
/// # Errors
/// [`ErrorCode::BlobBadRange`], [`ErrorCode::BlobAltered`], [`ErrorCode::BlobGone`]; the object store.
pub(crate) async fn read(
    app: &App,
    known: &Known,
    offset: u64,
    length: Option<u64>,
) -> Result<Bytes, Failed> {
    let (blob, chunk) = (&known.blob, u64::from(known.blob.chunk_size));
    let size = blob.size_bytes;
    if offset > size || (offset == size && size > 0) || length == Some(0) {
        let detail =
            format!("the blob has {size} bytes; {offset} lies beyond them, or no bytes are asked for");
        return Err(RpcError::with_detail(ErrorCode::BlobBadRange, detail).into());
    }
    if size == 0 {
        return Ok(Bytes::new());
    }
    let Some((seq, sha256)) = usize::try_from(offset / chunk).ok().and_then(|index| known.chunks.get(index))
    else {
        return Err(altered("its index is incomplete"));
    };
    let data = app.blobs.bucket.chunk(&blob.nuid, seq).await.map_err(|error| bucket_failed(app, &error))?;
    let Some(data) = data else {
        // It may have been deleted a moment ago.
        app.blobs.forget(&blob.blob_id).await;
        self::known(app, &blob.blob_id).await?;
        tracing::error!(blob_id = %blob.blob_id, seq, "a chunk is missing from the object store");
        return Err(altered("a part of it is missing"));
    };
    if Sha256::digest(&data).as_slice() != sha256 {
        tracing::error!(blob_id = %blob.blob_id, seq, "a chunk in the object store was altered");
        return Err(altered("a part of it isn't what was put"));
    }
    let start = usize::try_from(offset % chunk).unwrap_or(usize::MAX).min(data.len());
    let most = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    let end = start.saturating_add(most).min(data.len());
    Ok(data.slice(start..end))
}

fn altered(what: &str) -> Failed {
    let detail =
        format!("the content in the object store can't be given: {what}; delete the blob and put it again");
    RpcError::with_detail(ErrorCode::BlobAltered, detail).into()
}
