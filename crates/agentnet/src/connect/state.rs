//! Connection events: counted always, logged once per change.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// State of a connection as its events tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionState {
    /// Usable at the moment.
    pub connected: bool,
    /// Closed by us, for good.
    pub closed: bool,
    /// How often the connection came back after a loss: whoever waits for a reconnect compares this.
    pub reconnects: u64,
}

pub(super) struct Events {
    target: String,
    state: watch::Sender<ConnectionState>,
    slow_consumers: Arc<AtomicU64>,
    attempt_logged: AtomicBool,
}

pub(super) fn channel(
    target: &str,
    slow_consumers: Arc<AtomicU64>,
) -> (Events, watch::Receiver<ConnectionState>) {
    let (state, receiver) = watch::channel(ConnectionState { connected: true, closed: false, reconnects: 0 });
    let events =
        Events { target: target.to_owned(), state, slow_consumers, attempt_logged: AtomicBool::new(false) };
    (events, receiver)
}

impl Events {
    pub(super) fn observe(&self, event: &Event) {
        let nats = self.target.as_str();
        match event {
            Event::Connected => {
                self.attempt_logged.store(false, Ordering::Relaxed);
                // The first event of a connection reports what `connect` returned already.
                let back = self.state.send_if_modified(|state| {
                    let back = !state.connected;
                    if back {
                        state.connected = true;
                        state.reconnects += 1;
                    }
                    back
                });
                if back {
                    tracing::info!(nats, "NATS connection is back");
                }
            }
            Event::Disconnected => {
                let lost =
                    self.state.send_if_modified(|state| std::mem::replace(&mut state.connected, false));
                if lost {
                    tracing::warn!(nats, "NATS connection lost; reconnecting");
                }
            }
            Event::Closed => {
                self.state.send_modify(|state| (state.connected, state.closed) = (false, true));
                tracing::debug!(nats, "NATS connection closed");
            }
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                // One line per doubling: a slow consumer reports every message.
                let count = self.slow_consumers.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_power_of_two() {
                    tracing::warn!(nats, count, "messages dropped: a subscription's buffer is full");
                }
            }
            Event::ServerError(error) => tracing::warn!(nats, %error, "NATS server reports an error"),
            Event::ClientError(error) => {
                if !self.attempt_logged.swap(true, Ordering::Relaxed) {
                    tracing::warn!(nats, %error, "NATS connection attempt failed; trying on");
                }
            }
            Event::LameDuckMode => tracing::info!(nats, "NATS server is about to stop; moving on"),
            Event::Draining => tracing::debug!(nats, "NATS connection draining"),
        }
    }
}
