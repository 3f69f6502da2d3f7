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

/// What outlives the single client: a connection that is renewed stays one connection to whoever follows it.
#[derive(Debug)]
pub(super) struct Signals {
    target: String,
    state: watch::Sender<ConnectionState>,
    slow_consumers: AtomicU64,
    /// The client whose events count: the others are not in use yet, or no more.
    generation: AtomicU64,
}

impl Signals {
    pub(super) fn new(target: &str) -> Self {
        let state = ConnectionState { connected: true, closed: false, reconnects: 0 };
        Self {
            target: target.to_owned(),
            state: watch::Sender::new(state),
            slow_consumers: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn follow(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(super) fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// From now on the events of this client count; it is connected.
    pub(super) fn switch_to(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.connected, true));
    }
}

/// The events of one client.
pub(super) struct Events {
    signals: Arc<Signals>,
    generation: u64,
    attempt_logged: AtomicBool,
}

impl Events {
    pub(super) fn new(signals: Arc<Signals>, generation: u64) -> Self {
        Self { signals, generation, attempt_logged: AtomicBool::new(false) }
    }
}

impl Events {
    pub(super) fn observe(&self, event: &Event) {
        let Signals { target, state, slow_consumers, .. } = self.signals.as_ref();
        let nats = target.as_str();
        if let Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) = event {
            // One line per doubling: a slow consumer reports every message.
            let count = slow_consumers.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_power_of_two() {
                tracing::warn!(nats, count, "messages dropped: a subscription's buffer is full");
            }
            return;
        }
        if self.generation != self.signals.generation() {
            return;
        }
        match event {
            Event::Connected => {
                self.attempt_logged.store(false, Ordering::Relaxed);
                // The first event of a connection reports what `connect` returned already.
                let back = state.send_if_modified(|state| {
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
                let lost = state.send_if_modified(|state| std::mem::replace(&mut state.connected, false));
                if lost {
                    tracing::warn!(nats, "NATS connection lost; reconnecting");
                }
            }
            Event::Closed => {
                state.send_modify(|state| (state.connected, state.closed) = (false, true));
                tracing::debug!(nats, "NATS connection closed");
            }
            Event::SlowConsumer(_) => {}
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
