//! Streams that come in: messages of kind `stream`, of this version and of original SDKs.

use std::{panic::AssertUnwindSafe, sync::Arc};

use agentnet_proto::{AccountId, Envelope, ErrorCode, ReceiptStatus, StreamFrame, envelope::kind};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{
    StreamHandler, StreamReader,
    following::{Following, Source, key_of_original},
};
use crate::{
    inbox::{Incoming, Job},
    node::Inner,
};

impl Inner {
    /// Takes a message that belongs to a stream; gives back what ordinary handlers are for.
    ///
    /// A stream is its handler's from its first message on, so that what ends it is no message for others. Without a
    /// handler of streams, the finished text is a message like any other, and what announces it is nothing to anybody;
    /// the parts of an original's stream are messages then, as they always were.
    pub(crate) async fn take_streamed(self: &Arc<Self>, job: Job) -> Option<Job> {
        if job.envelope.kind != kind::STREAM {
            return Some(job);
        }
        let Some(frame) = StreamFrame::of_payload(&job.envelope.payload) else { return Some(job) };
        let from = job.envelope.from_account_id.as_deref().and_then(|id| AccountId::new(id).ok());
        let Some(from) = from else { return Some(job) };
        let handler = self.handlers.stream_handler_of(&job.envelope);
        match &frame {
            StreamFrame::Start(start) => match (&start.message_id, handler) {
                (Some(message_id), Some(handler)) => {
                    let source = Source::Message(message_id.clone());
                    self.open(job, &start.stream_id, source, from, handler).await;
                }
                (Some(_), None) => self.processed(&job.envelope, &job.body_sha256).await,
                (None, Some(handler)) => self.take_part(job, from, &frame, handler).await,
                (None, None) => return Some(job),
            },
            StreamFrame::End(end) if end.sha256.is_some() => {
                self.ended(&job.envelope, &frame);
                if handler.is_none() {
                    return Some(job);
                }
                self.processed(&job.envelope, &job.body_sha256).await;
            }
            StreamFrame::Error(error) if error.message_id.is_some() => {
                self.ended(&job.envelope, &frame);
                self.processed(&job.envelope, &job.body_sha256).await;
            }
            _ => match handler {
                Some(handler) => self.take_part(job, from, &frame, handler).await,
                None => return Some(job),
            },
        }
        None
    }

    fn ended(&self, envelope: &Envelope, frame: &StreamFrame) {
        if let Some(following) = self.streams.reading.get(frame.stream_id()) {
            self.finished_by(&following, envelope);
        }
    }

    /// A part of an original's stream. Whichever comes first begins it.
    async fn take_part(
        self: &Arc<Self>,
        job: Job,
        from: AccountId,
        frame: &StreamFrame,
        handler: StreamHandler,
    ) {
        let (key, now) = (key_of_original(from.as_str(), frame.stream_id()), Instant::now());
        let envelope = Arc::clone(&job.envelope);
        let has_ended = self.streams.ended_originals().get(&key, now).is_some();
        let known = self.streams.reading.get(&key);
        let begins = known.is_none() && !has_ended;
        if begins {
            self.open(job, frame.stream_id(), Source::Inbox, from, handler).await;
        } else {
            self.processed(&envelope, &job.body_sha256).await;
        }
        if let Some(following) = known.or_else(|| self.streams.reading.get(&key)).filter(|_| !has_ended) {
            following.part(frame, &envelope.message_id, now);
        }
        if matches!(frame, StreamFrame::End(_) | StreamFrame::Error(_)) {
            self.streams.ended_originals().insert(&key, (), now);
        }
    }

    /// Reads a stream with its handler, beside the workers: it may take long.
    async fn open(
        self: &Arc<Self>,
        job: Job,
        id: &str,
        source: Source,
        from: AccountId,
        handler: StreamHandler,
    ) {
        let me = self.account.as_str();
        let is_original = source == Source::Inbox;
        let following = Following::new(id, source, Some(from), self.streams.patience, Instant::now());
        let permit = Arc::clone(&self.streams.permits).try_acquire_owned();
        let (following, permit) = match (self.streams.reading.insert(following), permit) {
            (Ok(Some(following)), Ok(permit)) => (following, permit),
            // Two parts of it came at once.
            (Ok(None), _) if is_original => {
                return self.processed(&job.envelope, &job.body_sha256).await;
            }
            (Ok(None), _) => {
                let detail = "a stream of this id is being read";
                return self.reject(&job.envelope, &job.body_sha256, ErrorCode::Duplicate, detail).await;
            }
            (opened, _) => {
                if let Ok(Some(following)) = opened {
                    self.streams.reading.remove(&following);
                }
                self.guards.forget(&job.envelope, me);
                let detail = "as many streams are being read as may be";
                return self.reject(&job.envelope, &job.body_sha256, ErrorCode::Busy, detail).await;
            }
        };
        if !job.is_told {
            self.receipt(&job.envelope, &job.body_sha256, ReceiptStatus::Accepted, None).await;
        }
        self.streams.wake.notify_one();
        let reader = StreamReader::new(Arc::clone(self), following, None);
        let busy = self.busy();
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let incoming = Incoming {
                node: Arc::clone(&node),
                envelope: Arc::clone(&job.envelope),
                source: job.source,
                attempt: job.attempt,
            };
            let started = Instant::now();
            // The reader ends by then, and a handler has its usual time for what it does afterwards.
            let longest = node.streams.patience.total.saturating_add(node.config.work_timeout);
            let run = AssertUnwindSafe(async { handler(incoming, reader).await }).catch_unwind();
            let ended = node.until_stopped(timeout(longest, run)).await;
            if let Some(ended) = ended {
                node.conclude(&job.envelope, &job.body_sha256, ended.ok(), started, longest).await;
            }
            drop((busy, permit));
        });
    }
}
