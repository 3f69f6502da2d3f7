//! Taking messages from one subscription, and ending it without losing any.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::nats::Nats;

/// Unsubscribes at the server and keeps the subscription in the client. The client's own `drain` forgets the
/// subscription at its next wake-up, which under load comes before the last messages do, and these are then
/// lost without a trace. A server reads a count of more than nine digits as "now" (`parseSize` in nats-server);
/// one that took it for a count would leave us with what `drain` gives.
const SERVER_SIDE_ONLY: u64 = 10_000_000_000;

/// How long the server may take to confirm the end of a subscription.
const CONFIRM: Duration = Duration::from_secs(1);

/// A subscription that ends, in order, when intake stops.
pub(super) struct Intake {
    nats: Nats,
    subscription: Subscriber,
    stop: CancellationToken,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The channel is closed: it ends after what it holds.
    Ended,
    /// The connection doesn't take commands: what the channel holds is all there will be.
    Unconfirmed,
}

impl Intake {
    /// `stop` must be this subscription's own child token: asking it takes a lock.
    pub(super) fn new(nats: &Nats, subscription: Subscriber, stop: CancellationToken) -> Self {
        Self { nats: nats.clone(), subscription, stop, phase: Phase::Open }
    }

    /// The next message. After the stop: what the server had already sent, then `None`.
    pub(super) async fn next(&mut self) -> Option<Message> {
        if self.phase == Phase::Open {
            // Messages first, which is cheaper, but a busy subscription must see the stop too.
            if !self.stop.is_cancelled() {
                tokio::select! {
                    biased;
                    message = self.subscription.next() => return message,
                    () = self.stop.cancelled() => {}
                }
            }
            self.phase = self.end().await;
        }
        match self.phase {
            Phase::Unconfirmed => self.subscription.next().now_or_never().flatten(),
            _ => self.subscription.next().await,
        }
    }

    async fn end(&mut self) -> Phase {
        let end = async {
            // Without a connection nothing is on its way, and after a failure nothing can be waited for.
            if self.nats.is_connected() && self.subscription.unsubscribe_after(SERVER_SIDE_ONLY).await.is_ok()
            {
                let _ = self.nats.round_trip(CONFIRM).await;
            }
            self.subscription.unsubscribe().await
        };
        match timeout(CONFIRM * 2, end).await {
            Ok(Ok(())) => Phase::Ended,
            _ => Phase::Unconfirmed,
        }
    }
}
