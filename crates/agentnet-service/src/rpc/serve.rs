//! The loop over one subscription.

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

/// A subscription that ends, in order, when intake stops.
pub(super) struct Intake {
    subscription: Subscriber,
    stop: CancellationToken,
    draining: bool,
}

impl Intake {
    /// `stop` must be this subscription's own child token: asking it takes a lock.
    pub(super) fn new(subscription: Subscriber, stop: CancellationToken) -> Self {
        Self { subscription, stop, draining: false }
    }

    /// The next message. After the stop: what the server had already sent, then `None`.
    pub(super) async fn next(&mut self) -> Option<Message> {
        if !self.draining {
            // Messages first, which is cheaper, but a busy subscription must see the stop too.
            if !self.stop.is_cancelled() {
                tokio::select! {
                    biased;
                    message = self.subscription.next() => return message,
                    () = self.stop.cancelled() => {}
                }
            }
            self.draining = true;
            if self.subscription.drain().await.is_err() {
                return None;
            }
        }
        self.subscription.next().await
    }
}
