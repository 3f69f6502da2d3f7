//! A subscription that goes on when the connection is renewed.

use async_nats::{Message, Subscriber};
use futures_util::{StreamExt as _, stream::SelectAll};
use tokio::sync::mpsc;

/// Renewals that may wait for the reader.
const MAX_WAITING: usize = 8;

/// Reads one subscription and those that are made anew in its place; an older one ends by itself when its client does.
#[derive(Debug)]
pub(super) struct Feed {
    subscriptions: SelectAll<Subscriber>,
    renewed: mpsc::Receiver<Subscriber>,
}

/// Where the subscriptions of a renewed connection go.
pub(super) type Renewed = mpsc::Sender<Subscriber>;

impl Feed {
    pub(super) fn new(subscriptions: impl IntoIterator<Item = Subscriber>) -> (Renewed, Self) {
        let (sender, renewed) = mpsc::channel(MAX_WAITING);
        (sender, Self { subscriptions: subscriptions.into_iter().collect(), renewed })
    }

    /// The next message; `None` once every subscription has ended and none can come any more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            tokio::select! {
                biased;
                Some(subscription) = self.renewed.recv() => self.subscriptions.push(subscription),
                Some(message) = self.subscriptions.next() => return Some(message),
                else => return None,
            }
        }
    }

    /// Ends the subscriptions that there are. What had arrived is given; what is put in their place later is read on.
    pub(super) async fn end_current(&mut self) {
        while let Ok(subscription) = self.renewed.try_recv() {
            self.subscriptions.push(subscription);
        }
        for subscription in self.subscriptions.iter_mut() {
            // Fails only where the connection is closed.
            let _ = subscription.drain().await;
        }
    }

    /// The next message of the subscriptions that there are; `None` once they have ended.
    pub(super) async fn next_of_current(&mut self) -> Option<Message> {
        self.subscriptions.next().await
    }

    /// Ends the subscriptions for good; what had arrived is what the stream gives.
    pub(super) async fn drain(mut self) -> SelectAll<Subscriber> {
        self.renewed.close();
        self.end_current().await;
        self.subscriptions
    }
}
