//! The workers: a fixed number, each handling one message at a time.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration};

use agentnet_proto::{Envelope, ErrorCode, ReceiptStatus};
use futures_util::{FutureExt as _, poll};
use tokio::time::{Instant, timeout_at};

use super::{HandlerResult, Incoming, Job, guards::check_time};
use crate::{
    deadline::after,
    handlers::{Failed, run},
    node::Inner,
};

/// Longer than a handler may run without waiting for anything if others' senders are not to notice.
const BLOCKED: Duration = Duration::from_millis(2);

/// Handles messages until the task is cancelled.
pub(crate) async fn work(node: Arc<Inner>) {
    node.handlers.ready().await;
    loop {
        let (job, inflight) = node.jobs.pop().await;
        node.handle(job).await;
        drop(inflight);
    }
}

impl Inner {
    async fn handle(self: &Arc<Self>, job: Job) {
        let Job { envelope, source, body_sha256, attempt, is_told } = job;
        let me = self.account.as_str();
        let started = Instant::now();
        if self.guards.circuit_open(started) {
            self.guards.forget(&envelope, me);
            return self
                .reject(&envelope, &body_sha256, ErrorCode::ServiceDegraded, "circuit breaker open")
                .await;
        }
        if let Err(code) = check_time(&envelope, source, self.clock.as_ref()) {
            self.guards.forget(&envelope, me);
            return self.reject(&envelope, &body_sha256, code, "message ttl invalid or expired").await;
        }
        let job = Job { envelope, source, body_sha256, attempt, is_told };
        let Some(Job { envelope, source, body_sha256, attempt, is_told }) = self.take_streamed(job).await
        else {
            return;
        };
        let handlers = self.handlers.of(&envelope);
        if handlers.is_empty() {
            self.guards.forget(&envelope, me);
            // Those who wait until it is ready find it closing.
            let (code, detail) = if self.is_accepting() {
                (ErrorCode::NoHandler, "no handler of the agent takes this message")
            } else {
                (ErrorCode::ShuttingDown, "agent is shutting down")
            };
            return self.reject(&envelope, &body_sha256, code, detail).await;
        }
        let incoming = Incoming { node: Arc::clone(self), envelope: Arc::clone(&envelope), source, attempt };
        let failed = Failed::default();
        let mut run = pin!(AssertUnwindSafe(run(handlers, incoming, &failed)).catch_unwind());
        let first = poll!(run.as_mut());
        let mut now = Instant::now();
        if now - started > BLOCKED {
            self.tell_accepted(now, self.jobs.blocked(now)).await;
        }
        if !is_told && !matches!(first, Poll::Ready(Ok(Ok(())))) {
            // It takes its time, or failed: the sender hears that it was taken before it hears the rest.
            self.receipt_at(now, &envelope, &body_sha256, ReceiptStatus::Accepted, None).await;
        }
        let ended = match first {
            Poll::Ready(ended) => Ok(ended),
            Poll::Pending => {
                let (_waits, untold) = self.jobs.waits();
                self.tell_accepted(now, untold).await;
                let ended = timeout_at(after(started, self.config.work_timeout), run).await;
                now = Instant::now();
                // What failed before others ran out of time is the message's failure.
                ended.or_else(|late| failed.take().map(|error| Ok(Err(error))).ok_or(late))
            }
        };
        self.conclude_at(now, &envelope, &body_sha256, ended.ok(), started, self.config.work_timeout).await;
    }

    /// A handler is done with a message: `None` when it didn't end within `limit`.
    pub(crate) async fn conclude(
        self: &Arc<Self>,
        envelope: &Envelope,
        body_sha256: &str,
        ended: Option<Ran>,
        started: Instant,
        limit: Duration,
    ) {
        self.conclude_at(Instant::now(), envelope, body_sha256, ended, started, limit).await;
    }

    async fn conclude_at(
        self: &Arc<Self>,
        now: Instant,
        envelope: &Envelope,
        body_sha256: &str,
        ended: Option<Ran>,
        started: Instant,
        limit: Duration,
    ) {
        self.metrics.handled(now - started);
        let (code, detail) = match ended {
            Some(Ok(Ok(()))) => {
                self.guards.handled(true, now);
                return self.processed_at(now, envelope, body_sha256).await;
            }
            Some(Ok(Err(error))) => {
                self.metrics.errors.up();
                tracing::warn!(message_id = envelope.message_id, %error, "handler failed");
                (ErrorCode::HandlerError, "handler raised an exception")
            }
            Some(Err(panic)) => {
                self.metrics.errors.up();
                tracing::error!(
                    message_id = envelope.message_id,
                    panic = panic_text(&*panic),
                    "handler panicked"
                );
                (ErrorCode::HandlerError, "handler raised an exception")
            }
            None => {
                self.metrics.timeouts.up();
                let seconds = limit.as_secs_f64();
                tracing::warn!(message_id = envelope.message_id, seconds, "handler timed out");
                (ErrorCode::Timeout, "handler timed out")
            }
        };
        self.guards.handled(false, now);
        // A message whose handler failed may be tried again under the same id.
        self.guards.forget(envelope, self.account.as_str());
        self.reject(envelope, body_sha256, code, detail).await;
    }

    /// Nothing more is to be done about a message.
    pub(crate) async fn processed(&self, envelope: &Envelope, body_sha256: &str) {
        self.processed_at(Instant::now(), envelope, body_sha256).await;
    }

    async fn processed_at(&self, now: Instant, envelope: &Envelope, body_sha256: &str) {
        self.metrics.processed.up();
        self.guards.processed(envelope, now);
        if let Some(remembered) = &self.remembered {
            remembered.write(envelope, self.account.as_str(), &*self.clock).await;
            return self.receipt(envelope, body_sha256, ReceiptStatus::Processed, None).await;
        }
        self.receipt_at(now, envelope, body_sha256, ReceiptStatus::Processed, None).await;
    }
}

/// How a handler's run ended: with its result, or a panic.
pub(crate) type Ran = std::thread::Result<HandlerResult>;

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
