//! Getting a blob.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use agentnet_proto::{
    ErrorCode,
    rpc::{BlobInfo, BlobReadRequest},
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::{Instant, sleep},
};

use super::{Blobs, Listener, PATIENCE, Progress, file, pace::Pace, retry::until_answered};
use crate::error::{Error, ErrorKind};

/// Chunks asked for at once.
const WINDOW: usize = 8;
/// How long leave to read is waited for: a message may be here before the network has stored it.
const LEAVE: Duration = Duration::from_secs(3);
/// First pause between two questions; it doubles.
const LEAVE_PAUSE: Duration = Duration::from_millis(100);

/// A blob about to be got: set options, then say where to.
///
/// Every chunk is checked by the registry as it is read, and the whole against its SHA-256. What is interrupted on the way
/// goes on where it was.
///
/// # Errors
/// - `blob_gone`, `blob_forbidden`, `blob_bad_range`, `blob_altered`;
/// - [`ErrorKind::File`] when it can't be written; and as [`RegistryClient::call`](crate::RegistryClient::call).
#[must_use = "nothing is got until it is said where to"]
pub struct GetBlob<'a> {
    blobs: Blobs,
    blob_id: String,
    offset: u64,
    length: Option<u64>,
    overwrite: bool,
    patience: Duration,
    leave: Duration,
    listener: Option<Listener<'a>>,
}

impl fmt::Debug for GetBlob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBlob").field("blob_id", &self.blob_id).finish_non_exhaustive()
    }
}

impl<'a> GetBlob<'a> {
    pub(super) fn new(blobs: Blobs, blob_id: String) -> Self {
        Self {
            blobs,
            blob_id,
            offset: 0,
            length: None,
            overwrite: false,
            patience: PATIENCE,
            leave: LEAVE,
            listener: None,
        }
    }

    /// Only the bytes from `offset` on, at most `length` of them: fewer where the blob ends. A range isn't checked against
    /// the SHA-256 of the whole, but its chunks are.
    pub fn range(mut self, offset: u64, length: Option<u64>) -> Self {
        (self.offset, self.length) = (offset, length);
        self
    }

    /// A file that exists is replaced, at once and whole; otherwise it is an error.
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// How long to go on without getting anywhere; 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long to wait for leave to read, which the message with the reference gives once it is stored; 3 s.
    pub fn wait_for_leave(mut self, time: Duration) -> Self {
        self.leave = time;
        self
    }

    /// Hears how far it is.
    pub fn progress(mut self, listener: impl FnMut(Progress) + Send + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// The content in memory.
    ///
    /// # Errors
    /// See the type.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        self.to_writer(&mut bytes).await?;
        Ok(bytes.into())
    }

    /// Writes the content to a writer, and flushes that. After an error, what was written is a part of it. The whole is
    /// checked at its end: until this returned, what was written isn't certain.
    ///
    /// # Errors
    /// See the type.
    pub async fn to_writer(
        mut self,
        writer: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<BlobInfo, Error> {
        let info = self.head().await?;
        self.fetch(&info, writer).await?;
        Ok(info)
    }

    /// Writes the content to the file at `path`: under another name first, so that nobody sees a part of it. Where the
    /// file is.
    ///
    /// # Errors
    /// See the type; [`ErrorKind::InvalidArgument`] for a file that exists, unless it may be
    /// [overwritten](Self::overwrite).
    pub async fn to_file(mut self, path: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let mut writing = file::Writing::at(path.as_ref(), self.overwrite)?;
        let info = self.head().await?;
        self.fetch(&info, &mut writing.file).await?;
        writing.finish().await
    }

    /// As [`to_file`](Self::to_file), under the blob's own name in a directory: never outside of it, whatever the name
    /// says. A blob without a name gets its id for one.
    ///
    /// # Errors
    /// As [`to_file`](Self::to_file); `blob_bad_name` for a name that could lead elsewhere.
    pub async fn into_dir(mut self, dir: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let info = self.head().await?;
        let name = if info.filename.is_empty() { &info.blob_id } else { &info.filename };
        let mut writing = file::Writing::within(dir.as_ref(), name, self.overwrite)?;
        self.fetch(&info, &mut writing.file).await?;
        writing.finish().await
    }

    /// Holds nothing of this but what it needs, so that a get can be moved between threads whatever listens to it.
    fn head(&self) -> impl Future<Output = Result<BlobInfo, Error>> + Send + use<> {
        let (blobs, blob_id, patience) = (self.blobs.clone(), self.blob_id.clone(), self.patience);
        let give_up = Instant::now() + self.leave;
        async move {
            let mut pause = LEAVE_PAUSE;
            loop {
                let head = until_answered(patience, || blobs.head(&blob_id)).await;
                match head {
                    Err(error)
                        if error.error_code() == Some(ErrorCode::BlobForbidden)
                            && Instant::now() < give_up =>
                    {
                        sleep(pause.min(give_up - Instant::now())).await;
                        pause *= 2;
                    }
                    ended => return ended,
                }
            }
        }
    }

    async fn fetch(
        &mut self,
        info: &BlobInfo,
        writer: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<(), Error> {
        let size = info.size_bytes;
        if self.offset > size {
            let detail = format!("the blob has {size} bytes; {} lies beyond them", self.offset);
            return Err(Error::of(ErrorCode::BlobBadRange, detail));
        }
        let end = size.min(self.offset.saturating_add(self.length.unwrap_or(u64::MAX)));
        let mut whole = (self.offset == 0 && end == size).then(Sha256::new);
        let (total, mut done) = (end - self.offset, 0);
        let (blobs, pace) = (self.blobs.clone(), Pace::new(WINDOW, self.patience));
        let mut parts = stream::iter(parts(self.offset, end, info.chunk_size))
            .map(|(offset, length)| part(&blobs, &info.blob_id, offset, length, &pace))
            .buffered(WINDOW);
        let unwritable = |error: std::io::Error| {
            Error::new(ErrorKind::File, format!("what was got can't be written: {error}")).source_of(error)
        };
        while let Some(data) = parts.next().await {
            let data = data?;
            if let Some(whole) = &mut whole {
                whole.update(&data);
            }
            writer.write_all(&data).await.map_err(unwritable)?;
            done += data.len() as u64;
            if let Some(listener) = &mut self.listener {
                listener(Progress { done, total: Some(total), upload_id: None });
            }
        }
        writer.flush().await.map_err(unwritable)?;
        if whole.is_some_and(|whole| HEXLOWER.encode(&whole.finalize()) != info.sha256) {
            return Err(Error::of(ErrorCode::BlobAltered, "what came isn't what the blob's SHA-256 says"));
        }
        Ok(())
    }
}

/// Offset and length of each part, cut where the stored chunks end.
fn parts(offset: u64, end: u64, chunk_size: u32) -> impl Iterator<Item = (u64, u64)> {
    let chunk = u64::from(chunk_size.max(1));
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let next = end.min((at / chunk + 1) * chunk);
        let part = (at, next - at);
        at = next;
        Some(part)
    })
}

async fn part(blobs: &Blobs, blob_id: &str, offset: u64, length: u64, pace: &Pace) -> Result<Bytes, Error> {
    let request = BlobReadRequest { blob_id: blob_id.to_owned(), offset, length: Some(length) };
    let (request, registry) = (&request, &blobs.registry);
    let read = |within| async move { registry.blob_read_within(request, within).await };
    let (head, data) = pace.carry(offset, read).await?;
    if head.offset != offset || data.len() as u64 != length {
        return Err(Error::new(
            ErrorKind::RegistryFailed,
            "the registry gave another range than it was asked for",
        ));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_chunks_end() {
        let of = |offset, end| parts(offset, end, 10).collect::<Vec<_>>();
        assert_eq!(of(0, 0), []);
        assert_eq!(of(0, 25), [(0, 10), (10, 10), (20, 5)]);
        assert_eq!(of(7, 12), [(7, 3), (10, 2)]);
        assert_eq!(of(20, 30), [(20, 10)]);
    }
}
