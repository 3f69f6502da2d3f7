//! Pulls from the stream and decodes, ahead of the writer.

use std::{sync::Arc, time::Duration};

use agentnet_proto::Timestamp;
use agentnet_service::CancellationToken;
use async_nats::jetstream::{self, Context, consumer::pull};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};

use crate::{
    ack::Ack,
    config::StreamConfig,
    decode::{self, Raw, Rules},
    stream::{self, Opened},
    work::{Meta, Work},
};

/// Memory for bodies that were decoded and not yet answered, in permits of a KiB.
pub(crate) const MEMORY_KIB: usize = 64 * 1_024;
/// What the server may send ahead of us, in bytes.
const AHEAD: usize = 16 << 20;
/// Twice that, and a dead consumer or connection is noticed while nothing comes.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long an answer about the stream is waited for. A cluster without a leader doesn't answer, and a question that it
/// didn't hear is lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long one pull request stands at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The pulling end.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) jetstream: Context,
    pub(crate) config: StreamConfig,
    /// Most items the server may send ahead of us.
    pub(crate) ahead: usize,
    pub(crate) rules: Rules,
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) out: mpsc::Sender<Work>,
}

impl Source {
    /// Pulls until told to stop or until nobody takes what it brings. Whatever happens to the connection, the stream
    /// or the consumer, it makes them anew and goes on.
    pub(crate) async fn run(self, opened: Opened, stop: CancellationToken) {
        let mut opened = Some(opened);
        let mut asking = self.jetstream.clone();
        asking.set_timeout(ANSWER_LIMIT);
        let mut pause = PAUSE.0;
        while !stop.is_cancelled() {
            let ready = match opened.take() {
                Some(opened) => Ok(opened),
                None => stream::open(&asking, &self.config).await,
            };
            match ready {
                Ok(opened) => {
                    if self.pull(&opened, &stop).await {
                        pause = PAUSE.0;
                    }
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the stream is not available; trying on");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            }
        }
    }

    /// Pulls until something breaks or a stop is asked for. Returns whether anything came.
    async fn pull(&self, opened: &Opened, stop: &CancellationToken) -> bool {
        let pulling = opened
            .consumer
            .stream()
            .max_messages_per_batch(self.ahead)
            .max_bytes_per_batch(AHEAD)
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await;
        let mut messages: pull::Stream = match pulling {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "the stream can't be pulled from; trying on");
                return false;
            }
        };
        let mut any = false;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return any,
                next = messages.next() => next,
            };
            match next {
                Some(Ok(message)) => {
                    any = true;
                    let Some(work) = self.receive(message, opened.created_at).await else { continue };
                    if self.out.send(work).await.is_err() {
                        return any;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "pulling was interrupted; starting it anew");
                    return any;
                }
                None => return any,
            }
        }
    }

    async fn receive(&self, message: jetstream::Message, stream_created: Timestamp) -> Option<Work> {
        let (published, stream_seq, delivered) = match message.info() {
            Ok(info) => (info.published, info.stream_sequence, info.delivered),
            Err(error) => {
                tracing::error!(%error, "a message came without the stream's metadata; left to be delivered again");
                return None;
            }
        };
        let async_nats::Message { subject, reply, payload, headers, .. } = message.message;
        let raw = Raw {
            subject: subject.into_string(),
            headers,
            body: payload,
            received_at: Timestamp::from_offset(published),
            stream_seq: Some(stream_seq),
            delivered,
        };
        let decoded = decode::decode(&raw, &self.rules);
        // Counts the search text too. Only a closed semaphore fails, and nobody closes it.
        let memory = self.memory.clone().acquire_many_owned(kib(&raw.body)).await.ok()?;
        let meta = Meta {
            answer: decoded.answer,
            ack: reply.map(Ack::new),
            subject: raw.subject.clone(),
            stream_seq: raw.stream_seq,
            stream_created: Some(stream_created),
            _memory: memory,
        };
        Some(Work { item: decoded.item, meta, raw: self.rules.is_signed.then_some(raw) })
    }
}

/// What a body counts for, at most all there is.
pub(crate) fn kib(body: &Bytes) -> u32 {
    u32::try_from((1 + body.len() / 512).min(MEMORY_KIB)).unwrap_or(1)
}
