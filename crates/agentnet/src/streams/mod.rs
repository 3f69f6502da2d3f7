//! Streamed texts: sent piece by piece, read while they are written, and one stored message in the end.

mod assembly;
mod following;
mod inbox;
mod reader;
mod request;
mod send;
mod sending;
mod serve;
mod source;
mod wire;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet_proto::{AccountId, ErrorCode, StreamFrame};
use tokio::sync::{Notify, Semaphore, mpsc};

pub use reader::{StreamReader, StreamedText};
pub use request::StreamRequest;
pub use send::{SendStream, StreamSent};
pub(crate) use serve::serve;
pub use source::IntoDelta;

pub(crate) use following::Following;
use following::{Patience, Reading};
use sending::Outgoing;

use crate::{
    inbox::{HandlerResult, Incoming},
    ttl_map::TtlMap,
};

/// Longest time from the first to the last word of a stream unless set.
pub const DEFAULT_STREAM_TIME: Duration = Duration::from_secs(10 * 60);
/// How long nothing may be heard of a stream before its reader gives up.
pub(crate) const DEFAULT_SILENCE: Duration = Duration::from_secs(30);
/// Stream handlers at once.
pub(crate) const MAX_STREAM_HANDLERS: usize = 64;
/// Words of readers that wait to be answered; what doesn't fit they say again.
const MAX_CONTROLS: usize = 1_024;
/// Streams of original SDKs that ended, remembered so that a late part doesn't begin them anew.
const MAX_ENDED: usize = 4_096;
const ENDED_LIFE: Duration = Duration::from_secs(600);

/// A handler of streams as the node keeps it.
pub(crate) type StreamHandler =
    Arc<dyn Fn(Incoming, StreamReader) -> Pin<Box<dyn Future<Output = HandlerResult> + Send>> + Send + Sync>;

/// A closure as the node keeps it.
pub(crate) fn stream_handler_of<F, Fut>(handler: F) -> StreamHandler
where
    F: Fn(Incoming, StreamReader) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    Arc::new(move |message, stream| Box::pin(handler(message, stream)))
}

type Control = (AccountId, StreamFrame);

/// The streams of a node.
pub(crate) struct Streams {
    reading: Reading,
    outgoing: Outgoing,
    controls: mpsc::Sender<Control>,
    /// For the task that serves them.
    heard: Mutex<Option<mpsc::Receiver<Control>>>,
    /// Something is to be looked after now.
    wake: Notify,
    permits: Arc<Semaphore>,
    ended_originals: Mutex<TtlMap<()>>,
    patience: Patience,
}

impl Streams {
    pub(crate) fn new(total: Duration, silence: Duration) -> Self {
        let (controls, heard) = mpsc::channel(MAX_CONTROLS);
        Self {
            reading: Reading::default(),
            outgoing: Outgoing::default(),
            controls,
            heard: Mutex::new(Some(heard)),
            wake: Notify::new(),
            permits: Arc::new(Semaphore::new(MAX_STREAM_HANDLERS)),
            ended_originals: Mutex::new(TtlMap::new(ENDED_LIFE, MAX_ENDED)),
            patience: Patience { silence, total },
        }
    }

    /// A reader's word, for the task that answers it.
    fn control(&self, from: AccountId, frame: StreamFrame) {
        if self.controls.try_send((from, frame)).is_err() {
            tracing::debug!("too many readers ask at once; they will ask again");
        }
    }

    /// Nothing comes any more: ends what is being read.
    pub(crate) fn close(&self) {
        for following in self.reading.all() {
            following.fail(ErrorCode::Closed, "the node is closed");
        }
    }

    fn ended_originals(&self) -> std::sync::MutexGuard<'_, TtlMap<()>> {
        self.ended_originals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("reading", &self.reading.len()).finish_non_exhaustive()
    }
}
