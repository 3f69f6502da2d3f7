//! An upload. Which replica takes a chunk doesn't matter: the stream holds the truth about the order, and whoever finds
//! itself behind reads what others wrote. A replica that took every chunk itself, the usual case, reads nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentnet_proto::subject::AccountId;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::blobs::{self, Blob, Committed, Finished, Reserved, Upload};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, timeout};

use super::bucket::{About, PutError};
use super::{WINDOW, bucket_failed, quota_full, too_large};
use crate::app::{App, Failed};

/// How long a chunk waits for those before it.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How often it looks whether another replica has taken them.
const LOOK: Duration = Duration::from_millis(10);
/// What is set aside of the quota at once for an upload whose size nobody told, in bytes.
const RESERVE: u64 = 8 << 20;
/// How often an upload's row says that the upload lives; chunks of one that was given up are taken for as long at most.
pub(super) const TOUCH: Duration = Duration::from_secs(30);

/// An upload, as far as this replica knows it.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) upload: Upload,
    state: Mutex<State>,
    moved: Notify,
    /// Chunks that wait for those before them.
    parked: AtomicU32,
}

/// What lies in the stream, up to `position`.
#[derive(Debug)]
struct State {
    position: u64,
    last_seq: u64,
    seqs: Vec<i64>,
    sha256s: Vec<u8>,
    whole: Sha256,
    reserved: u64,
    touched: Instant,
    looked: Instant,
}

impl State {
    fn add(&mut self, seq: u64, data: &[u8]) {
        self.position += data.len() as u64;
        self.last_seq = seq;
        self.seqs.push(i64::try_from(seq).unwrap_or(i64::MAX));
        self.sha256s.extend_from_slice(&Sha256::digest(data));
        self.whole.update(data);
    }
}

/// The upload of that id.
///
/// # Errors
/// [`ErrorCode::BlobUploadUnknown`]; Postgres.
pub(crate) async fn writing(app: &App, upload_id: &str) -> Result<Arc<Writing>, Failed> {
    if let Some(writing) = app.blobs.writing.get(upload_id).await {
        return Ok(writing);
    }
    let upload = blobs::upload(app.store.pool(), upload_id).await?;
    Ok(open(app, upload.ok_or_else(unknown)?).await)
}

/// The state of an upload whose row was just seen.
pub(crate) async fn open(app: &App, upload: Upload) -> Arc<Writing> {
    let key = upload.upload_id.clone();
    let make = async {
        let state = State {
            position: 0,
            last_seq: 0,
            seqs: Vec::new(),
            sha256s: Vec::new(),
            whole: Sha256::new(),
            reserved: upload.reserved_bytes,
            touched: Instant::now(),
            looked: Instant::now(),
        };
        Arc::new(Writing {
            upload,
            state: Mutex::new(state),
            moved: Notify::new(),
            parked: AtomicU32::new(0),
        })
    };
    app.blobs.writing.get_with(key, make).await
}

fn unknown() -> RpcError {
    ErrorCode::BlobUploadUnknown.into()
}

fn bad_range(detail: String) -> Failed {
    RpcError::with_detail(ErrorCode::BlobBadRange, detail).into()
}

impl Writing {
    /// Refuses whoever isn't the one that puts it. Where nobody is proved, knowing the upload's id has to do.
    ///
    /// # Errors
    /// [`ErrorCode::BlobUploadUnknown`]: as if there were none.
    pub(crate) fn check_owner(&self, account: Option<&AccountId>) -> Result<(), RpcError> {
        match account {
            Some(account) if account.as_str() != self.upload.account_id => Err(unknown()),
            _ => Ok(()),
        }
    }

    /// How many bytes the object store holds.
    ///
    /// # Errors
    /// The object store.
    pub(crate) async fn position(&self, app: &App) -> Result<u64, Failed> {
        let mut state = self.state.lock().await;
        self.catch_up(app, &mut state).await?;
        Ok(state.position)
    }

    /// Reads what others wrote; whether that was anything.
    async fn catch_up(&self, app: &App, state: &mut State) -> Result<bool, Failed> {
        let before = state.position;
        loop {
            let next = app.blobs.bucket.next_chunk(&self.upload.nuid, state.last_seq + 1).await;
            match next.map_err(|error| bucket_failed(app, &error))? {
                Some((seq, data)) => state.add(seq, &data),
                None => break,
            }
        }
        if state.position > before {
            self.moved.notify_waiters();
        }
        Ok(state.position > before)
    }

    /// Takes the chunk that begins at `offset`; how many bytes the object store holds then. That is less than the chunk's
    /// end when those before it didn't come in time.
    ///
    /// # Errors
    /// [`ErrorCode::BlobBadRange`], [`ErrorCode::BlobTooLarge`], [`ErrorCode::BlobQuotaFull`],
    /// [`ErrorCode::BlobStoreFull`], [`ErrorCode::BlobUploadUnknown`]; Postgres; the object store.
    pub(crate) async fn write(&self, app: &App, offset: u64, data: &Bytes) -> Result<u64, Failed> {
        let end = self.check_fit(offset, data.len())?;
        if end > app.config.blobs.max_bytes {
            // Nothing can come of it any more; it shall not count until its time is over.
            blobs::abandon(app.store.pool(), &self.upload.upload_id).await?;
            self.forget(app).await;
            return Err(too_large(app).into());
        }
        let give_up = Instant::now() + PATIENCE;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let mut state = self.state.lock().await;
            if state.position >= end {
                return Ok(state.position);
            }
            if state.position == offset {
                self.admit(app, &mut state, end).await?;
                match self.put(app, &mut state, data).await? {
                    Some(position) => return Ok(position),
                    None if Instant::now() >= give_up => return Ok(state.position),
                    None => continue,
                }
            }
            if state.position > offset {
                let detail = format!("the upload goes on at {}, not at {offset}", state.position);
                return Err(bad_range(detail));
            }
            // All that wait see what one of them found.
            if state.looked.elapsed() >= LOOK {
                let found = self.catch_up(app, &mut state).await?;
                state.looked = Instant::now();
                if found {
                    continue;
                }
            }
            let position = state.position;
            drop(state);
            let window = u64::from(WINDOW) * u64::from(self.upload.chunk_size);
            if Instant::now() >= give_up || offset > position.saturating_add(window) {
                return Ok(position);
            }
            // A client has so many under way; more would only hold room that others need.
            let Some(_parked) = Parked::new(&self.parked) else { return Ok(position) };
            let _ = timeout(LOOK, moved).await;
        }
    }

    /// Where the chunk ends, if it is one of this upload's.
    fn check_fit(&self, offset: u64, len: usize) -> Result<u64, Failed> {
        let (len, chunk) = (len as u64, u64::from(self.upload.chunk_size));
        let end = offset.saturating_add(len);
        if len == 0 || len > chunk || !offset.is_multiple_of(chunk) {
            let detail = format!(
                "chunks have {chunk} bytes, the last one may have fewer; this has {len}, at {offset}"
            );
            return Err(bad_range(detail));
        }
        match self.upload.size_bytes {
            Some(size) if end > size || (end < size && len < chunk) => {
                let detail = format!("{len} bytes at {offset} are no chunk of an upload of {size} bytes");
                Err(bad_range(detail))
            }
            _ => Ok(end),
        }
    }

    /// Sets more of the quota aside where that is needed, and says now and then that the upload lives.
    async fn admit(&self, app: &App, state: &mut State, end: u64) -> Result<(), Failed> {
        if end > state.reserved {
            let bytes = (end + RESERVE).min(app.config.blobs.max_bytes);
            let began = StoreError::query("agent_blob_uploads.reserve");
            let mut tx = app.store.pool().begin().await.map_err(&began)?;
            match blobs::reserve(&mut tx, &self.upload, bytes, &app.config.blobs.limits()).await? {
                Reserved::Yes => {}
                Reserved::Unknown => return Err(self.forget(app).await),
                // What is left may do for the chunk itself.
                Reserved::Full(_) => {
                    match blobs::reserve(&mut tx, &self.upload, end, &app.config.blobs.limits()).await? {
                        Reserved::Yes => {
                            tx.commit().await.map_err(&began)?;
                            (state.reserved, state.touched) = (end, Instant::now());
                            return Ok(());
                        }
                        Reserved::Full(used) => return Err(quota_full(app, &used).into()),
                        Reserved::Unknown => return Err(self.forget(app).await),
                    }
                }
            }
            tx.commit().await.map_err(&began)?;
            (state.reserved, state.touched) = (bytes, Instant::now());
        } else if state.touched.elapsed() > TOUCH.min(app.config.blobs.upload_ttl / 4) {
            if !blobs::touch(app.store.pool(), &self.upload.upload_id).await? {
                return Err(self.forget(app).await);
            }
            state.touched = Instant::now();
        }
        Ok(())
    }

    /// An upload without a size may have been finished or given up by another replica while this one added a chunk. That
    /// chunk belongs to nothing then, and counts nowhere.
    async fn still_wanted(&self, app: &App, seq: u64) -> Result<(), Failed> {
        if self.upload.size_bytes.is_some() || blobs::touch(app.store.pool(), &self.upload.upload_id).await? {
            return Ok(());
        }
        let removed = app.blobs.bucket.remove_chunk(seq).await;
        removed.map_err(|error| bucket_failed(app, &error))?;
        Err(self.forget(app).await)
    }

    async fn forget(&self, app: &App) -> Failed {
        app.blobs.writing.invalidate(&self.upload.upload_id).await;
        unknown().into()
    }

    /// Adds the chunk behind what is there; the new position, `None` when another replica was faster.
    async fn put(
        &self,
        app: &App,
        state: &mut MutexGuard<'_, State>,
        data: &Bytes,
    ) -> Result<Option<u64>, Failed> {
        match app.blobs.bucket.put_chunk(&self.upload.nuid, data.clone(), state.last_seq).await {
            Ok(seq) => {
                self.still_wanted(app, seq).await?;
                state.add(seq, data);
                self.moved.notify_waiters();
                Ok(Some(state.position))
            }
            Err(PutError::Full) => Err(RpcError::from(ErrorCode::BlobStoreFull).into()),
            Err(PutError::NotNext) => {
                if !self.catch_up(app, state).await? {
                    // Nothing is there and yet something was: the chunks were removed.
                    return Err(self.forget(app).await);
                }
                Ok(None)
            }
            Err(PutError::Failed(error)) => {
                // It may have arrived although the answer didn't.
                let failed = bucket_failed(app, &error);
                if self.catch_up(app, state).await? { Ok(None) } else { Err(failed) }
            }
        }
    }
}

/// A chunk that waits for those before it.
struct Parked<'a>(&'a AtomicU32);

impl<'a> Parked<'a> {
    fn new(parked: &'a AtomicU32) -> Option<Self> {
        let before = parked.fetch_add(1, Ordering::Relaxed);
        let parked = Self(parked);
        (before < WINDOW).then_some(parked)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes the upload a blob: its content is compared with what it should be, the object gets its name, and then the row is
/// written. Only then is the put acknowledged.
///
/// # Errors
/// [`ErrorCode::BlobUploadUnknown`], [`ErrorCode::BlobBadRange`] while something is missing,
/// [`ErrorCode::BlobAltered`]; Postgres; the object store.
pub(crate) async fn commit(
    app: &App,
    account: &AccountId,
    upload_id: &str,
    size: u64,
    sha256: &[u8],
) -> Result<Blob, Failed> {
    // Asked again after an answer was lost.
    if let Some(blob) = blobs::of_upload(app.store.pool(), upload_id, account.as_str()).await? {
        return Ok(blob);
    }
    // What is remembered may have been given up: only what has a row gets a name in the bucket.
    let Some(upload) = blobs::resume(app.store.pool(), upload_id, account.as_str()).await? else {
        app.blobs.writing.invalidate(upload_id).await;
        return Err(unknown().into());
    };
    let writing = open(app, upload).await;
    let upload = &writing.upload;
    let mut state = writing.state.lock().await;
    if state.position < size {
        writing.catch_up(app, &mut state).await?;
    }
    if state.position != size || upload.size_bytes.is_some_and(|told| told != size) {
        return Err(bad_range(format!("the network holds {} bytes of {size}", state.position)));
    }
    let found = state.whole.clone().finalize();
    if found.as_slice() != sha256 {
        blobs::abandon(app.store.pool(), upload_id).await?;
        writing.forget(app).await;
        return Err(RpcError::from(ErrorCode::BlobAltered).into());
    }
    let about = About {
        account_id: &upload.account_id,
        filename: &upload.filename,
        mime_type: &upload.mime_type,
        chunk_size: upload.chunk_size,
    };
    let named = app
        .blobs
        .bucket
        .put_meta(&upload.blob_id, &upload.nuid, size, state.seqs.len(), sha256, &about)
        .await;
    match named {
        Ok(()) => {}
        Err(PutError::Full) => return Err(RpcError::from(ErrorCode::BlobStoreFull).into()),
        Err(PutError::Failed(error)) => return Err(bucket_failed(app, &error)),
        Err(PutError::NotNext) => return Err(RpcError::from(ErrorCode::BlobFailed).into()),
    }
    let finished =
        Finished { size_bytes: size, sha256, chunk_seqs: &state.seqs, chunk_sha256: &state.sha256s };
    let failed = StoreError::query("agent_blobs.commit");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let committed = blobs::commit(&mut tx, upload_id, account.as_str(), &finished, app.now()).await?;
    tx.commit().await.map_err(&failed)?;
    app.blobs.writing.invalidate(upload_id).await;
    match committed {
        Committed::Blob(blob) => Ok(*blob),
        Committed::Unknown => {
            // Given up in the meantime, and perhaps swept already: no row names these bytes any more.
            let removed = app.blobs.bucket.remove(&upload.nuid, &upload.blob_id).await;
            removed.map_err(|error| bucket_failed(app, &error))?;
            Err(unknown().into())
        }
    }
}
