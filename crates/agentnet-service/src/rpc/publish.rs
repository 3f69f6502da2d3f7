//! The ordered loop over messages that want no answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures_util::future::FutureExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::handler::panic_text;
use super::metrics::MethodMetrics;
use super::serve::Intake;
use super::{PublishCtx, PublishHandler};

pub(super) struct TopicRuntime {
    pub(super) name: Arc<str>,
    pub(super) handler: PublishHandler,
    pub(super) metrics: MethodMetrics,
    pub(super) deadline: Duration,
    pub(super) abandon: CancellationToken,
}

impl TopicRuntime {
    pub(super) async fn serve(self, mut intake: Intake) {
        while let Some(message) = intake.next().await {
            self.handle(message).await;
            if self.abandon.is_cancelled() {
                return;
            }
        }
    }

    async fn handle(&self, message: Message) {
        let received = Instant::now();
        let ctx = PublishCtx { subject: message.subject, headers: message.headers, received };
        let started = catch_unwind(AssertUnwindSafe(|| (self.handler.call)(ctx, message.payload)));
        let ended = match started {
            Ok(call) => {
                let call = AssertUnwindSafe(call).catch_unwind();
                tokio::select! {
                    biased;
                    ended = timeout(self.deadline, call) => ended.ok(),
                    () = self.abandon.cancelled() => None,
                }
            }
            Err(panic) => Some(Err(panic)),
        };
        let failure = match ended {
            Some(Ok(true)) => None,
            Some(Ok(false)) => Some("refused"),
            Some(Err(panic)) => {
                tracing::error!(topic = %self.name, panic = panic_text(panic.as_ref()), "handler panicked");
                Some("panicked")
            }
            None => {
                tracing::warn!(topic = %self.name, "handler cut off at its deadline");
                Some("deadline")
            }
        };
        self.metrics.finished(received.elapsed());
        if let Some(code) = failure {
            self.metrics.failed(code);
        }
    }
}
