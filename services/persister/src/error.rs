//! Why the persister can't start or go on.

use std::time::Duration;

use agentnet_store::StoreError;

use crate::stream::StreamError;

/// Why the persister can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum PersisterError {
    /// Postgres didn't come, or its schema can't be brought up to date.
    #[error("no usable database within {} s; check that Postgres runs and that DATABASE_URL names it", waited.as_secs_f64())]
    Database {
        /// How long it was waited for.
        waited: Duration,
        /// The last failure.
        #[source]
        source: StoreError,
    },
    /// JetStream didn't come, or refuses the stream.
    #[error("no usable stream within {} s; check that nats-server runs with JetStream (-js)", waited.as_secs_f64())]
    Stream {
        /// How long it was waited for.
        waited: Duration,
        /// The last failure.
        #[source]
        source: StreamError,
    },
    /// The tap on original SDKs' inboxes was refused.
    #[error("the inboxes of original SDKs can't be listened to; check the NATS permissions")]
    Tap(#[source] async_nats::SubscribeError),
    /// The news of keys were refused.
    #[error("news of keys can't be listened to; check the NATS permissions")]
    Events(#[source] async_nats::SubscribeError),
    /// A part of the pipeline ended by itself.
    #[error("a part of the persister ended unexpectedly: {0}")]
    Ended(String),
}
