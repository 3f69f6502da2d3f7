//! Hears replies between original SDKs on `_INBOX.`, which the stream doesn't capture. Best effort: a reply that
//! arrives while the pipeline is full, or while we are down, is missing in history.

use std::sync::Arc;

use agentnet_proto::SharedClock;
use agentnet_service::CancellationToken;
use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    counters::{Count, Handle},
    decode::{self, Raw, Rules},
    source::kib,
    work::{Meta, Work},
};

/// The listening end.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) subscriber: Subscriber,
    pub(crate) clock: SharedClock,
    pub(crate) rules: Rules,
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) out: mpsc::Sender<Work>,
    pub(crate) handle: Handle,
}

impl Tap {
    /// Listens until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = self.subscriber.next() => next,
            };
            // `None` comes only when the connection was closed for good.
            let Some(message) = next else { return stop.cancelled().await };
            if message.status.is_none() && !self.pass_on(message) {
                self.handle.add(Count::TapDropped, 1);
            }
        }
    }

    /// Returns whether the message is taken care of.
    fn pass_on(&self, message: async_nats::Message) -> bool {
        let raw = Raw {
            subject: message.subject.into_string(),
            headers: message.headers,
            body: message.payload,
            received_at: self.clock.now(),
            stream_seq: None,
            delivered: 1,
        };
        let Some(decoded) = decode::decode_tapped(&raw, &self.rules) else { return true };
        let Ok(memory) = self.memory.clone().try_acquire_many_owned(kib(&raw.body)) else { return false };
        let meta = Meta {
            answer: decoded.answer,
            ack: None,
            subject: raw.subject.clone(),
            stream_seq: None,
            stream_created: None,
            _memory: memory,
        };
        let raw = self.rules.is_signed.then_some(raw);
        self.out.try_send(Work { item: decoded.item, meta, raw }).is_ok()
    }
}
