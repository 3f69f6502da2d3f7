//! Acknowledgements to the stream, as plain publishes: the acknowledgement is lost with the connection, and the item
//! comes again.

use std::time::Duration;

use async_nats::{Client, Subject, jetstream::AckKind};

/// How to answer the stream about one message. Not acknowledging is what happens when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Ack(Subject);

impl Ack {
    pub(crate) fn new(reply: Subject) -> Self {
        Self(reply)
    }

    /// Done for good.
    pub(crate) async fn done(&self, client: &Client) {
        self.send(client, AckKind::Ack).await;
    }

    /// Still being worked on: start the waiting time anew.
    pub(crate) async fn progress(&self, client: &Client) {
        self.send(client, AckKind::Progress).await;
    }

    /// Give it to somebody again, later.
    pub(crate) async fn later(&self, client: &Client, after: Duration) {
        self.send(client, AckKind::Nak(Some(after))).await;
    }

    async fn send(&self, client: &Client, kind: AckKind) {
        if let Err(error) = client.publish(self.0.clone(), kind.into()).await {
            tracing::debug!(%error, "acknowledgement not sent; the stream will deliver again");
        }
    }
}
