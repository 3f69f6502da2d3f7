//! Putting a blob.

use std::{
    fmt,
    future::{Future, IntoFuture},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentnet_proto::{
    ErrorCode,
    blob::{DEFAULT_CONTENT_TYPE, check_file_name, sanitise_file_name},
    rpc::{BlobBeginRequest, BlobBeginResponse, BlobCommitRequest, BlobInfo, BlobWriteRequest},
};
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Blobs, Listener, PATIENCE, Progress, file, pace::Pace, retry::until_answered};
use crate::error::{Error, ErrorKind};

/// How often a put begins anew after the network gave its upload up.
const MAX_BEGINS: usize = 3;
/// Largest chunk that a network may ask for, in bytes: what is held in memory is bounded whatever it says.
const MAX_CHUNK: u32 = 8 << 20;
/// Most chunks under way, likewise.
const MAX_WINDOW: u32 = 64;

/// What is put.
pub enum BlobSource<'a> {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file, whose name the blob gets unless it is given another.
    File(PathBuf),
    /// Whatever a reader gives, to its end.
    Reader(Box<dyn AsyncRead + Send + Unpin + 'a>),
}

impl<'a> BlobSource<'a> {
    /// Whatever `reader` gives, to its end.
    pub fn reader(reader: impl AsyncRead + Send + Unpin + 'a) -> Self {
        Self::Reader(Box::new(reader))
    }
}

impl From<Bytes> for BlobSource<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for BlobSource<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&Path> for BlobSource<'_> {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<PathBuf> for BlobSource<'_> {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Debug for BlobSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

/// A blob about to be put: set options, then `.await`.
///
/// Awaited, it returns once the network holds the bytes and says what they are: a put that returned is readable. What is
/// interrupted on the way, by a restart of the registry, of NATS, or of the connection, goes on where it was; after 60 s
/// without getting anywhere it fails. The same content under the same name is the same blob, put once.
///
/// # Errors
/// - `blob_bad_name`, `blob_too_large`, `blob_quota_full`, `blob_store_full`: what the network doesn't take;
/// - `blob_altered` when a file changed while it was read;
/// - [`ErrorKind::File`] when it can't be read; and as [`RegistryClient::call`](crate::RegistryClient::call).
#[must_use = "nothing is put until this is awaited"]
pub struct PutBlob<'a> {
    blobs: Blobs,
    source: BlobSource<'a>,
    name: Option<String>,
    content_type: Option<String>,
    expires_in: Option<Duration>,
    metadata: Map<String, Value>,
    resume: Option<String>,
    patience: Duration,
    listener: Option<Listener<'a>>,
}

impl fmt::Debug for PutBlob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutBlob")
            .field("source", &self.source)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What is known of the content before it is sent.
#[derive(Debug, Clone, Default)]
struct Known {
    size: Option<u64>,
    sha256: Option<String>,
}

impl<'a> PutBlob<'a> {
    pub(super) fn new(blobs: Blobs, source: BlobSource<'a>) -> Self {
        Self {
            blobs,
            source,
            name: None,
            content_type: None,
            expires_in: None,
            metadata: Map::new(),
            resume: None,
            patience: PATIENCE,
            listener: None,
        }
    }

    /// The file's name: no directories, separators, control characters, or names of devices. A file's own name, made fit,
    /// unless set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Content type; by the name's extension unless set.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// For how long the network keeps it; its own time, 30 days by default, unless less is set.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// What else to say about it, at most 4 KiB of JSON.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Goes on with an upload of which a [progress](Self::progress) told. The source must give the content from its
    /// beginning; what the network holds isn't sent again. Bytes and files find their upload without this.
    pub fn resume(mut self, upload_id: impl Into<String>) -> Self {
        self.resume = Some(upload_id.into());
        self
    }

    /// How long to go on without getting anywhere; 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Hears how far it is, chunk by chunk.
    pub fn progress(mut self, listener: impl FnMut(Progress) + Send + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    fn request(&self, known: &Known) -> BlobBeginRequest {
        let filename = match (&self.name, &self.source) {
            (Some(name), _) => name.clone(),
            (None, BlobSource::File(path)) => path
                .file_name()
                .and_then(|name| {
                    let name = name.to_string_lossy();
                    if check_file_name(&name).is_ok() {
                        Some(name.into_owned())
                    } else {
                        sanitise_file_name(&name)
                    }
                })
                .unwrap_or_default(),
            (None, _) => String::new(),
        };
        let guessed = mime_guess::from_path(&filename).first_raw().unwrap_or(DEFAULT_CONTENT_TYPE);
        BlobBeginRequest {
            account_id: self.blobs.account_id(),
            upload_id: self.resume.clone(),
            mime_type: Some(self.content_type.clone().unwrap_or_else(|| guessed.to_owned())),
            filename,
            size_bytes: known.size,
            sha256: known.sha256.clone(),
            expires_in_seconds: self.expires_in.map(|time| time.as_secs().max(1)),
            metadata: self.metadata.clone(),
        }
    }

    async fn run(mut self) -> Result<BlobInfo, Error> {
        let known = match &self.source {
            BlobSource::Bytes(bytes) => Known {
                size: Some(bytes.len() as u64),
                sha256: Some(HEXLOWER.encode(&Sha256::digest(bytes))),
            },
            BlobSource::File(path) => {
                let (size, sha256) = file::digest(path).await?;
                Known { size: Some(size), sha256: Some(sha256) }
            }
            BlobSource::Reader(_) => Known::default(),
        };
        let mut request = self.request(&known);
        for left in (0..MAX_BEGINS).rev() {
            let begun = until_answered(self.patience, || self.blobs.registry.blob_begin(&request)).await;
            let ended = match begun {
                Ok(BlobBeginResponse { blob: Some(blob), .. }) => {
                    self.told(blob.size_bytes, Some(blob.size_bytes), None);
                    return Ok(blob);
                }
                Ok(begun) => self.attempt(&begun, &known).await,
                Err(error) => Err(error),
            };
            // Finished by another put of the same content, or given up while we were away. A reader can't begin anew.
            let is_unknown = ended.as_ref().is_err_and(is_unknown);
            if !is_unknown || left == 0 || matches!(self.source, BlobSource::Reader(_)) {
                return ended;
            }
            request.upload_id = None;
        }
        Err(Error::of(ErrorCode::BlobUploadUnknown, "the network gave the upload up again and again"))
    }

    async fn attempt(&mut self, begun: &BlobBeginResponse, known: &Known) -> Result<BlobInfo, Error> {
        let mut source = std::mem::replace(&mut self.source, BlobSource::Bytes(Bytes::new()));
        let ended = match &mut source {
            BlobSource::Bytes(bytes) => self.send(begun, &mut bytes.as_ref(), known).await,
            BlobSource::File(path) => match file::open(path).await {
                Ok(mut file) => self.send(begun, &mut file, known).await,
                Err(error) => Err(error),
            },
            BlobSource::Reader(reader) => self.send(begun, reader, known).await,
        };
        self.source = source;
        ended
    }

    /// Sends everything behind the position that the network told, a window of chunks at a time, and finishes.
    async fn send(
        &mut self,
        begun: &BlobBeginResponse,
        reader: &mut (impl AsyncRead + Send + Unpin),
        known: &Known,
    ) -> Result<BlobInfo, Error> {
        if !(1..=MAX_CHUNK).contains(&begun.chunk_size) {
            return Err(Error::new(
                ErrorKind::RegistryFailed,
                "the registry asks for chunks of an unusable size",
            ));
        }
        let chunk_size = begun.chunk_size as usize;
        let window = begun.window.clamp(1, MAX_WINDOW) as usize;
        let upload_id: Arc<str> = begun.upload_id.as_str().into();
        let (mut read, mut done, mut ended) = (0_u64, begun.position, false);
        let mut buffer = BytesMut::new();
        let mut hash = known.sha256.is_none().then(Sha256::new);
        let (blobs, patience) = (self.blobs.clone(), self.patience);
        let pace = Pace::new(window, patience);
        let mut under_way = FuturesUnordered::new();
        loop {
            // A reader may have nothing for long: what is under way goes on meanwhile.
            tokio::select! {
                Some(written) = under_way.next() => {
                    done += written?;
                    self.told(done, known.size, Some(&upload_id));
                }
                filled = fill(reader, &mut buffer, chunk_size), if !ended && under_way.len() < pace.window() => {
                    if let Err(error) = filled {
                        drop(under_way);
                        give_up(&blobs, &upload_id).await;
                        return Err(error);
                    }
                    let chunk = buffer.split().freeze();
                    ended = chunk.len() < chunk_size;
                    if let Some(hash) = &mut hash {
                        hash.update(&chunk);
                    }
                    let offset = read;
                    read += chunk.len() as u64;
                    // What was put before an interruption.
                    if !chunk.is_empty() && read > begun.position {
                        under_way.push(write(&blobs, &upload_id, offset, chunk, &pace));
                    }
                }
                else => break,
            }
        }
        drop(under_way);
        let sha256 = match (hash, &known.sha256) {
            (Some(hash), _) => HEXLOWER.encode(&hash.finalize()),
            (None, told) => told.clone().unwrap_or_default(),
        };
        let request = BlobCommitRequest {
            account_id: self.blobs.account_id(),
            upload_id: upload_id.to_string(),
            size_bytes: read,
            sha256,
        };
        let registry = &blobs.registry;
        match until_answered(patience, || registry.blob_commit(&request)).await {
            // Its content was there already, and that answer was lost: asked by the content, the network names the blob.
            Err(error) if is_unknown(&error) => {
                let known = Known { size: Some(read), sha256: Some(request.sha256) };
                let by_content = BlobBeginRequest { upload_id: None, ..self.request(&known) };
                let begun = until_answered(patience, || registry.blob_begin(&by_content)).await?;
                begun.blob.ok_or(error)
            }
            ended => ended,
        }
    }

    fn told(&mut self, done: u64, total: Option<u64>, upload_id: Option<&Arc<str>>) {
        if let Some(listener) = &mut self.listener {
            listener(Progress { done, total, upload_id: upload_id.cloned() });
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    error.error_code() == Some(ErrorCode::BlobUploadUnknown)
}

/// What can't be read any more is nothing to go on with: its part of the quota is free in a minute or two. Otherwise it
/// would be after an hour.
async fn give_up(blobs: &Blobs, upload_id: &str) {
    if let Err(error) = blobs.delete(upload_id).await {
        tracing::debug!(%error, upload_id, "an upload that failed waits for its end");
    }
}

/// Reads on until the buffer holds a full chunk; less at the end. What was read stays there when this is dropped.
async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    size: usize,
) -> Result<(), Error> {
    buffer.reserve(size.saturating_sub(buffer.len()));
    while buffer.len() < size {
        let room = size - buffer.len();
        let got = (&mut *reader).take(room as u64).read_buf(buffer).await.map_err(|error| {
            Error::new(ErrorKind::File, "the content to put can't be read").source_of(error)
        })?;
        if got == 0 {
            break;
        }
    }
    Ok(())
}

/// Sends one chunk until the network holds it; its length.
async fn write(
    blobs: &Blobs,
    upload_id: &Arc<str>,
    offset: u64,
    chunk: Bytes,
    pace: &Pace,
) -> Result<u64, Error> {
    let request =
        BlobWriteRequest { account_id: blobs.account_id(), upload_id: upload_id.to_string(), offset };
    let (request, chunk) = (&request, &chunk);
    let end = offset + chunk.len() as u64;
    pace.carry(offset, |within| async move {
        let answer = blobs.registry.blob_write_within(request, chunk, within).await?;
        if answer.position >= end {
            return Ok(chunk.len() as u64);
        }
        // Those before it are missing still; they are on their way as well.
        Err(Error::new(ErrorKind::Busy, format!("the upload is at {} of {end} bytes", answer.position)))
    })
    .await
}

impl<'a> IntoFuture for PutBlob<'a> {
    type Output = Result<BlobInfo, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
