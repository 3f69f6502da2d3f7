//! Answers to quick sends, beside the workers: those may all be waiting for one.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll};

use agentnet_proto::{ReceiptStatus, schema_version};
use futures_util::{FutureExt as _, poll};
use tokio::time::{Instant, timeout_at};

use super::{Incoming, Job, Source};
use crate::{deadline::after, handlers::OnceHandler, node::Inner};

impl Inner {
    /// Calls the handler that waits for a message. As many run at once as quick sends did.
    pub(super) fn hand_over(self: &Arc<Self>, job: Job, handler: OnceHandler) {
        let (node, busy) = (Arc::clone(self), self.busy());
        tokio::spawn(async move {
            node.until_stopped(node.answered(job, handler)).await;
            drop(busy);
        });
    }

    async fn answered(self: &Arc<Self>, job: Job, handler: OnceHandler) {
        let Job { envelope, source, body_sha256, attempt, .. } = job;
        let (started, limit) = (Instant::now(), self.config.work_timeout);
        let incoming = Incoming { node: Arc::clone(self), envelope: Arc::clone(&envelope), source, attempt };
        let must_tell =
            source == Source::Redelivery || !schema_version::is_at_least_1_2(&envelope.schema_version);
        if must_tell {
            self.receipt(&envelope, &body_sha256, ReceiptStatus::Accepted, None).await;
        }
        let mut run = pin!(AssertUnwindSafe(async { handler(incoming).await }).catch_unwind());
        let first = poll!(run.as_mut());
        if !must_tell && !matches!(first, Poll::Ready(Ok(Ok(())))) {
            self.receipt(&envelope, &body_sha256, ReceiptStatus::Accepted, None).await;
        }
        let ended = match first {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => timeout_at(after(started, limit), run).await.ok(),
        };
        self.conclude(&envelope, &body_sha256, ended, started, limit).await;
    }
}
