//! The stream `AGENTNET` and the durable consumer that all replicas share.

use agentnet_proto::{
    Timestamp,
    subject::{CAPTURED, PERSISTER_BATCH_METADATA, PERSISTER_CONSUMER, STREAM},
};
use async_nats::jetstream::{
    self, Context,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind, UpdateStreamError},
    stream::{Config, ConsumerError, DiscardPolicy, RetentionPolicy, StorageType},
};

use crate::config::StreamConfig;

/// Most messages that all replicas together may have in hand. More would only wait in their memory.
const MAX_ACK_PENDING: i64 = 10_000;

/// The pull consumer.
pub type Consumer = jetstream::consumer::Consumer<pull::Config>;

/// The stream or its consumer can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It can't be looked up.
    #[error("stream {STREAM} can't be looked up")]
    Look(#[source] jetstream::context::GetStreamError),
    /// It can't be made.
    #[error("stream {STREAM} can't be created")]
    Create(#[source] CreateStreamError),
    /// It exists with settings that can't be changed and lose messages or hide them.
    #[error(
        "stream {STREAM} exists with settings that can't be used or changed ({what}); empty it with the persister \
         that made it, then delete it"
    )]
    Unusable {
        /// The setting.
        what: &'static str,
    },
    /// The consumer can't be made.
    #[error("consumer {PERSISTER_CONSUMER} can't be created")]
    Consumer(#[source] ConsumerError),
}

/// The stream's configuration.
///
/// Publishers get no acknowledgement (`no_ack`), so that a request's reply subject stays the agents' own. A full stream
/// takes nothing new instead of dropping what it took. Nothing carries a `Nats-Msg-Id`: Postgres alone tells copies
/// apart, so every copy reaches us and is answered.
pub fn stream_config(config: &StreamConfig) -> Config {
    Config {
        name: STREAM.to_owned(),
        subjects: CAPTURED.map(str::to_owned).to_vec(),
        description: Some("what isn't in Postgres yet".to_owned()),
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        no_ack: true,
        max_bytes: config.max_bytes,
        num_replicas: config.replicas,
        ..Config::default()
    }
}

fn consumer_config(config: &StreamConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(PERSISTER_CONSUMER.to_owned()),
        description: Some("writes to Postgres".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        // For ever: what can't be stored goes to the quarantine and is acknowledged.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        metadata: [(PERSISTER_BATCH_METADATA.to_owned(), config.batch_max.to_string())].into(),
        ..pull::Config::default()
    }
}

/// Makes both, or brings them up to date. Several replicas may do so at once.
///
/// # Errors
/// [`StreamError`]; all but [`StreamError::Unusable`] may pass.
pub async fn ensure(jetstream: &Context, config: &StreamConfig) -> Result<Consumer, StreamError> {
    open(jetstream, config).await.map(|opened| opened.consumer)
}

/// The consumer, and the incarnation of the stream it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) consumer: Consumer,
    /// When the stream was made: sequences are counted from then.
    pub(crate) created_at: Timestamp,
}

/// As [`ensure`].
pub(crate) async fn open(jetstream: &Context, config: &StreamConfig) -> Result<Opened, StreamError> {
    let wanted = stream_config(config);
    let stream = match jetstream.get_stream(STREAM).await {
        Ok(stream) => {
            update(jetstream, &stream.cached_info().config, &wanted).await?;
            stream
        }
        Err(error) if is_missing(&error) => match jetstream.create_stream(wanted.clone()).await {
            Ok(stream) => {
                tracing::info!(stream = STREAM, max_bytes = config.max_bytes, "stream created");
                stream
            }
            // Another replica was faster, with other settings.
            Err(error) if already_exists(&error) => {
                jetstream.get_stream(STREAM).await.map_err(StreamError::Look)?
            }
            Err(error) => return Err(StreamError::Create(error)),
        },
        Err(error) => return Err(StreamError::Look(error)),
    };
    let consumer = stream.create_consumer(consumer_config(config)).await.map_err(StreamError::Consumer)?;
    Ok(Opened { consumer, created_at: Timestamp::from_offset(stream.cached_info().created) })
}

async fn update(jetstream: &Context, found: &Config, wanted: &Config) -> Result<(), StreamError> {
    let changed = Config {
        subjects: wanted.subjects.clone(),
        description: wanted.description.clone(),
        discard: wanted.discard,
        no_ack: wanted.no_ack,
        max_bytes: wanted.max_bytes,
        num_replicas: wanted.num_replicas,
        retention: wanted.retention,
        storage: wanted.storage,
        // Limits that would lose messages.
        max_age: wanted.max_age,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        allow_rollup: false,
        ..found.clone()
    };
    let same = found.subjects == changed.subjects
        && found.description == changed.description
        && found.discard == changed.discard
        && found.no_ack == changed.no_ack
        && found.max_bytes == changed.max_bytes
        && found.num_replicas == changed.num_replicas
        && found.retention == changed.retention
        && found.storage == changed.storage
        && found.max_age == changed.max_age
        && found.max_messages < 1
        && found.max_messages_per_subject < 1
        && found.max_message_size < 1
        && !found.allow_rollup;
    if same {
        return Ok(());
    }
    match jetstream.update_stream(changed).await {
        Ok(_) => {
            tracing::info!(stream = STREAM, "stream brought up to date");
            Ok(())
        }
        Err(error) => tolerate(found, wanted, &error),
    }
}

/// The server refused the change. Goes on with what is there if it loses nothing.
fn tolerate(found: &Config, wanted: &Config, error: &UpdateStreamError) -> Result<(), StreamError> {
    let checks = [
        ("retention", found.retention == wanted.retention),
        ("storage", found.storage == wanted.storage),
        ("no_ack", found.no_ack == wanted.no_ack),
        ("discard", found.discard == wanted.discard),
        ("subjects", wanted.subjects.iter().all(|subject| found.subjects.contains(subject))),
    ];
    if let Some((what, _)) = checks.into_iter().find(|(_, is_fine)| !is_fine) {
        return Err(StreamError::Unusable { what });
    }
    tracing::warn!(stream = STREAM, %error, "the stream keeps its old size and replicas");
    Ok(())
}

fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

fn already_exists(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NAME_EXIST)
}
