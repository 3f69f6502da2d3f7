//! Connection events: counted always, logged once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Event, ServerError};
use tokio::sync::watch;
use tokio::time::Instant;

/// State of a connection as its events tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Usable.
    Connected,
    /// Lost; being re-established.
    Disconnected,
    /// Closed by us, for good.
    Closed,
}

/// A slow consumer or a refusing server reports every message; one line in this time is enough.
const REPEAT: Duration = Duration::from_secs(30);

pub(super) struct Events {
    target: String,
    state: watch::Sender<ConnectionState>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    lost_at: Option<Instant>,
    attempt_logged: bool,
    slow_logged: Option<Instant>,
    server_error: Option<(Instant, String)>,
}

pub(super) fn channel(target: &str) -> (Events, watch::Receiver<ConnectionState>) {
    let (state, receiver) = watch::channel(ConnectionState::Connected);
    (Events { target: target.to_owned(), state, memory: Mutex::default() }, receiver)
}

impl Events {
    pub(super) fn observe(&self, event: &Event) {
        metrics::counter!("agentnet_nats_events_total", "event" => label(event)).increment(1);
        let nats = self.target.as_str();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => {
                self.state.send_replace(ConnectionState::Connected);
                memory.attempt_logged = false;
                if let Some(lost_at) = memory.lost_at.take() {
                    let outage_ms = lost_at.elapsed().as_millis();
                    tracing::info!(nats, outage_ms, "NATS connection is back");
                }
            }
            Event::Disconnected => {
                self.state.send_replace(ConnectionState::Disconnected);
                if memory.lost_at.replace(Instant::now()).is_none() {
                    tracing::warn!(nats, "NATS connection lost; reconnecting");
                }
            }
            Event::Closed => {
                self.state.send_replace(ConnectionState::Closed);
                tracing::debug!(nats, "NATS connection closed");
            }
            Event::LameDuckMode => tracing::info!(nats, "NATS server is about to stop; will move to another"),
            Event::Draining => tracing::debug!(nats, "NATS connection draining"),
            Event::SlowConsumer(subscription) => {
                if due(memory.slow_logged) {
                    memory.slow_logged = Some(Instant::now());
                    tracing::warn!(nats, subscription, "messages dropped: a subscription's buffer is full");
                }
            }
            Event::ServerError(error) => {
                let text = error.to_string();
                let repeated =
                    matches!(&memory.server_error, Some((at, last)) if *last == text && !due(Some(*at)));
                if !repeated {
                    tracing::warn!(nats, error = text, "NATS server reports an error");
                    memory.server_error = Some((Instant::now(), text));
                }
            }
            Event::ClientError(error) => {
                if !std::mem::replace(&mut memory.attempt_logged, true) {
                    tracing::warn!(nats, %error, "NATS connection attempt failed; trying on");
                }
            }
        }
    }
}

fn due(last: Option<Instant>) -> bool {
    last.is_none_or(|at| at.elapsed() >= REPEAT)
}

fn label(event: &Event) -> &'static str {
    match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::LameDuckMode => "lame_duck",
        Event::Draining => "draining",
        Event::Closed => "closed",
        Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => "slow_consumer",
        Event::ServerError(_) => "server_error",
        Event::ClientError(_) => "client_error",
    }
}
