//! The object store's bucket, in its documented format (NATS ADR-20), so that `nats object` reads what we write: the
//! chunks of an object on `$O.<bucket>.C.<nuid>` in their order, what it is on `$O.<bucket>.M.<name>`.
//!
//! async-nats writes whole objects from one reader. Here chunks come one by one, over any replica and after restarts, so
//! each is published by itself, with the sequence that the one before it must have: the stream itself keeps the order,
//! and two writers never both add one.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use agentnet_proto::subject::{BLOB_BUCKET, blob_chunks, blob_entry, blob_stream};
use agentnet_service::chain;
use async_nats::Client;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind, PublishError,
    PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, RawMessageErrorKind, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::BlobConfig;

/// Longest wait for JetStream, below that of the requests it serves.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// What the server says when the bucket has no room left.
const FULL: [&str; 2] = ["maximum bytes exceeded", "insufficient"];

/// Smallest bucket that is made where JetStream has little room, in bytes.
const SMALLEST: i64 = 64 << 20;
/// What the server says when a stream may grow larger than JetStream has room: on one server, in a cluster, for the account.
const NO_ROOM: [ErrorCode; 4] = [
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::CLUSTER_NO_PEERS,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
];

fn is_too_large(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(e) if NO_ROOM.contains(&e.error_code()))
}

/// The bucket couldn't be read or changed. For the log.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {cause}")]
pub(crate) struct BucketError {
    what: &'static str,
    cause: String,
}

fn failed<E: std::error::Error + 'static>(what: &'static str) -> impl Fn(E) -> BucketError {
    move |error| BucketError { what, cause: chain(&error) }
}

/// Why a chunk wasn't added.
#[derive(Debug)]
pub(crate) enum PutError {
    /// Another one was added since.
    NotNext,
    /// There is no room.
    Full,
    /// It may or may not have been added.
    Failed(BucketError),
}

/// The bucket. Made with its first use.
pub(crate) struct Bucket {
    context: Context,
    config: BlobConfig,
    stream: Mutex<Option<Stream>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("config", &self.config).finish_non_exhaustive()
    }
}

fn meta_of(name: &str) -> String {
    blob_entry(&URL_SAFE.encode(name))
}

impl Bucket {
    pub(crate) fn new(client: Client, config: BlobConfig) -> Self {
        let context = ContextBuilder::new().timeout(TIMEOUT).ack_timeout(TIMEOUT).build(client);
        Self { context, config, stream: Mutex::new(None) }
    }

    fn wanted(&self) -> Config {
        Config {
            name: blob_stream(),
            description: Some("files of agents; Postgres says what they are".to_owned()),
            subjects: vec![blob_chunks(">"), blob_entry(">")],
            storage: StorageType::File,
            max_bytes: if self.config.store_max_bytes == 0 { -1 } else { self.config.store_max_bytes },
            num_replicas: self.config.replicas,
            // A full bucket takes nothing new instead of dropping what it took.
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    async fn stream(&self) -> Result<Stream, BucketError> {
        let mut slot = self.stream.lock().await;
        if let Some(stream) = &*slot {
            return Ok(stream.clone());
        }
        let wanted = self.wanted();
        let stream = match self.context.get_stream(&wanted.name).await {
            Ok(stream) => {
                self.update(&stream.cached_info().config, &wanted).await;
                stream
            }
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND) => {
                self.make(wanted).await?
            }
            Err(error) => return Err(failed("looking for the bucket")(error)),
        };
        Ok(slot.insert(stream).clone())
    }

    /// Makes the bucket, as large as wanted or as JetStream has room for.
    async fn make(&self, mut wanted: Config) -> Result<Stream, BucketError> {
        loop {
            // Replicas with equal settings may do so at once.
            match self.context.get_or_create_stream(&wanted).await {
                Ok(stream) => {
                    tracing::info!(
                        bucket = BLOB_BUCKET,
                        max_bytes = wanted.max_bytes,
                        "made the bucket of blobs"
                    );
                    return Ok(stream);
                }
                Err(error) if is_too_large(&error) && wanted.max_bytes / 2 >= SMALLEST => {
                    wanted.max_bytes /= 2;
                    tracing::warn!(
                        bucket = BLOB_BUCKET,
                        max_bytes = wanted.max_bytes,
                        "JetStream has no room for a bucket of blobs of the size that is set; trying half of it"
                    );
                }
                Err(error) => return Err(failed("making the bucket")(error)),
            }
        }
    }

    async fn update(&self, found: &Config, wanted: &Config) {
        if (found.max_bytes, found.num_replicas) == (wanted.max_bytes, wanted.num_replicas) {
            return;
        }
        let (max_bytes, num_replicas) = (wanted.max_bytes, wanted.num_replicas);
        let changed = Config { max_bytes, num_replicas, ..found.clone() };
        if let Err(error) = self.context.update_stream(changed).await {
            tracing::warn!(bucket = BLOB_BUCKET, %error, "the bucket keeps its old size and replicas");
        }
    }

    async fn forget(&self) {
        *self.stream.lock().await = None;
    }

    /// Adds a chunk behind the one with sequence `after`, 0 for the first; its own sequence.
    pub(crate) async fn put_chunk(&self, nuid: &str, data: Bytes, after: u64) -> Result<u64, PutError> {
        self.stream().await.map_err(PutError::Failed)?;
        let message = PublishMessage::build().payload(data).expected_last_subject_sequence(after);
        match self.publish(blob_chunks(nuid), message).await {
            Ok(seq) => Ok(seq),
            Err(error) => Err(self.put_error("adding a chunk", &error).await),
        }
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Result<u64, PublishError> {
        Ok(self.context.send_publish(subject, message).await?.await?.sequence)
    }

    async fn put_error(&self, what: &'static str, error: &PublishError) -> PutError {
        let cause = chain(error);
        match error.kind() {
            PublishErrorKind::WrongLastSequence => return PutError::NotNext,
            // The bucket was removed.
            PublishErrorKind::StreamNotFound => self.forget().await,
            _ if FULL.iter().any(|words| cause.contains(words)) => return PutError::Full,
            _ => {}
        }
        PutError::Failed(BucketError { what, cause })
    }

    /// The first chunk with sequence `from` or later, from the stream's leader: what was acknowledged is found.
    pub(crate) async fn next_chunk(
        &self,
        nuid: &str,
        from: u64,
    ) -> Result<Option<(u64, Bytes)>, BucketError> {
        let request = self
            .stream()
            .await?
            .raw_message_builder()
            .sequence(from)
            .next_by_subject(blob_chunks(nuid))
            .send();
        match request.await {
            Ok(message) => Ok(Some((message.sequence, message.payload))),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(failed("reading a chunk back")(error)),
        }
    }

    /// The chunk with that sequence.
    pub(crate) async fn chunk(&self, nuid: &str, seq: u64) -> Result<Option<Bytes>, BucketError> {
        let stream = self.stream().await?;
        match stream.direct_get(seq).await {
            Ok(message) if message.subject.as_str() == blob_chunks(nuid) => Ok(Some(message.payload)),
            Ok(_) => Ok(None),
            // A server that follows the leader may not have it yet.
            Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => {
                let found = self.next_chunk(nuid, seq).await?;
                Ok(found.filter(|(at, _)| *at == seq).map(|(_, data)| data))
            }
            Err(error) => {
                self.forget().await;
                Err(failed("reading a chunk")(error))
            }
        }
    }

    /// Says what the chunks are, for other readers of the bucket.
    pub(crate) async fn put_meta(
        &self,
        name: &str,
        nuid: &str,
        size: u64,
        chunks: usize,
        sha256: &[u8],
        about: &About<'_>,
    ) -> Result<(), PutError> {
        self.stream().await.map_err(PutError::Failed)?;
        let metadata =
            [("account_id", about.account_id), ("filename", about.filename), ("mime_type", about.mime_type)];
        let info = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: metadata
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<HashMap<_, _>>(),
            headers: None,
            options: Some(ObjectOptions {
                link: None,
                max_chunk_size: usize::try_from(about.chunk_size).ok(),
            }),
            bucket: BLOB_BUCKET.to_owned(),
            nuid: nuid.to_owned(),
            size: usize::try_from(size).unwrap_or(usize::MAX),
            chunks,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(sha256))),
            deleted: false,
        };
        let body =
            serde_json::to_vec(&info).map_err(|error| PutError::Failed(failed("naming an object")(error)))?;
        let message = PublishMessage::build().payload(body.into()).header(NATS_ROLLUP, "sub");
        match self.publish(meta_of(name), message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.put_error("naming an object", &error).await),
        }
    }

    /// Removes one chunk.
    pub(crate) async fn remove_chunk(&self, seq: u64) -> Result<(), BucketError> {
        let stream = self.stream().await?;
        stream.delete_message(seq).await.map(drop).map_err(failed("removing a chunk"))
    }

    /// Removes an object, or what there is of it.
    pub(crate) async fn remove(&self, nuid: &str, name: &str) -> Result<(), BucketError> {
        let stream = self.stream().await?;
        // Its name first: an object without chunks would look damaged.
        for subject in [meta_of(name), blob_chunks(nuid)] {
            stream.purge().filter(subject).await.map_err(failed("removing an object"))?;
        }
        Ok(())
    }
}

/// What an object's entry says beside its content.
pub(crate) struct About<'a> {
    pub(crate) account_id: &'a str,
    pub(crate) filename: &'a str,
    pub(crate) mime_type: &'a str,
    pub(crate) chunk_size: u32,
}
