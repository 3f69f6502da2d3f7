//! The workers: a fixed number, each handling one message at a time.

use std::{panic::AssertUnwindSafe, sync::Arc};

use agentnet_proto::{ErrorCode, ReceiptStatus};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Handler, Incoming, Job, guards::check_time};
use crate::{node::Inner, within::within};

/// Handles messages until the task is cancelled.
pub(crate) async fn work(node: Arc<Inner>, handler: Handler) {
    loop {
        let (job, inflight) = node.jobs.pop().await;
        node.handle(job, &handler).await;
        drop(inflight);
    }
}

impl Inner {
    async fn handle(self: &Arc<Self>, job: Job, handler: &Handler) {
        let Job { envelope, source, body_sha256, attempt } = job;
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
        let incoming = Incoming { node: Arc::clone(self), envelope: Arc::clone(&envelope), source, attempt };
        // The inner block: a handler may panic before it returns its future.
        let run = AssertUnwindSafe(async { handler(incoming).await }).catch_unwind();
        let ended = within(started + self.config.work_timeout, run).await;
        let now = Instant::now();
        self.metrics.handled(now - started);
        let (code, detail) = match ended {
            Ok(Ok(Ok(()))) => {
                self.metrics.processed.up();
                self.guards.handled(true, now);
                self.guards.processed(&envelope, now);
                if let Some(remembered) = &self.remembered {
                    remembered.write(&envelope, me, &*self.clock).await;
                    return self.receipt(&envelope, &body_sha256, ReceiptStatus::Processed, None).await;
                }
                return self.receipt_at(now, &envelope, &body_sha256, ReceiptStatus::Processed, None).await;
            }
            Ok(Ok(Err(error))) => {
                self.metrics.errors.up();
                tracing::warn!(message_id = envelope.message_id, %error, "handler failed");
                (ErrorCode::HandlerError, "handler raised an exception")
            }
            Ok(Err(panic)) => {
                self.metrics.errors.up();
                tracing::error!(
                    message_id = envelope.message_id,
                    panic = panic_text(&*panic),
                    "handler panicked"
                );
                (ErrorCode::HandlerError, "handler raised an exception")
            }
            Err(_) => {
                self.metrics.timeouts.up();
                let seconds = self.config.work_timeout.as_secs_f64();
                tracing::warn!(message_id = envelope.message_id, seconds, "handler timed out");
                (ErrorCode::Timeout, "handler timed out")
            }
        };
        self.guards.handled(false, now);
        // A message whose handler failed may be tried again under the same id.
        self.guards.forget(&envelope, me);
        self.reject(&envelope, &body_sha256, code, detail).await;
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
