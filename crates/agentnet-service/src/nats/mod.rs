//! The connection to NATS: bounded at start, healing itself for ever afterwards.

mod connect;
mod error;
mod events;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::NatsConfig;

pub use connect::connect;
pub use error::{NatsError, NatsErrorKind};
pub use events::ConnectionState;

/// A connected client with its state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nats {
    client: Client,
    state: watch::Receiver<ConnectionState>,
    target: Arc<str>,
    config: Arc<NatsConfig>,
}

impl Nats {
    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Servers of this connection without credentials.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What it was made with, for a second connection beside it.
    pub fn config(&self) -> &NatsConfig {
        &self.config
    }

    /// Follows the connection's state.
    pub fn connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Writes everything published so far to the socket.
    pub async fn flush(&self, within: Duration) -> Result<(), NatsError> {
        match timeout(within, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.unavailable(source)),
            Err(_) => Err(self.timed_out(within)),
        }
    }

    /// Sends a message to ourselves through the server. Its arrival proves that the server works and has
    /// handled everything sent before on this connection, subscriptions included.
    pub async fn round_trip(&self, within: Duration) -> Result<(), NatsError> {
        let trip = async {
            let inbox = self.client.new_inbox();
            let mut subscription =
                self.client.subscribe(inbox.clone()).await.map_err(|source| self.unavailable(source))?;
            self.client.publish(inbox, "".into()).await.map_err(|source| self.unavailable(source))?;
            let arrived = subscription.next().await.is_some();
            // Dropping a subscriber tells the server only at its next message.
            subscription.unsubscribe().await.map_err(|source| self.unavailable(source))?;
            if arrived { Ok(()) } else { Err(self.unavailable("the connection is closed")) }
        };
        timeout(within, trip).await.unwrap_or_else(|_| Err(self.timed_out(within)))
    }

    /// Flushes and closes. Call after handlers have finished: a draining client loses replies published later.
    pub async fn close(&self, within: Duration) -> Result<(), NatsError> {
        if *self.state.borrow() == ConnectionState::Closed {
            return Ok(());
        }
        let mut state = self.state.clone();
        let close = async {
            self.client.flush().await.map_err(|source| self.unavailable(source))?;
            self.client.drain().await.map_err(|source| self.unavailable(source))?;
            // An error means that the event task is gone, and with it the connection.
            let _ = state.wait_for(|state| *state == ConnectionState::Closed).await;
            Ok(())
        };
        timeout(within, close).await.unwrap_or_else(|_| Err(self.timed_out(within)))
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> NatsError {
        NatsError::new(NatsErrorKind::Unavailable, &self.target, None, source.into())
    }

    fn timed_out(&self, within: Duration) -> NatsError {
        let source = format!("no answer within {} s", within.as_secs_f64());
        NatsError::new(NatsErrorKind::TimedOut, &self.target, Some(within), source.into())
    }
}
