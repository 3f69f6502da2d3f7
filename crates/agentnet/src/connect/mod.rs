//! The connection to NATS: bounded at start, healing itself for ever afterwards.

pub mod context;
mod settings;
mod state;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use secrecy::ExposeSecret;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};

pub use settings::{LOCAL_NATS_URL, NatsAuth, NatsServer, NatsSettings, URL_VARIABLES, default_nats_url};
pub use state::ConnectionState;

use crate::{
    deadline::after,
    error::{Error, ErrorKind},
};

/// Pause before the second attempt; it doubles up to [`NatsSettings::reconnect_max`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A connection with its state. Cheap to clone; all clones share the connection.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    state: watch::Receiver<ConnectionState>,
    slow_consumers: Arc<AtomicU64>,
    target: Arc<str>,
}

impl Connection {
    /// The NATS client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Servers without credentials, for people.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Follows the connection's state.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// How often a subscription of this connection was full, so that a message was dropped.
    pub fn slow_consumer_count(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    /// Writes everything published so far to the socket.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when that takes longer than `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        match timeout(within, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable().source_of(error)),
            Err(_) => Err(self.unavailable()),
        }
    }

    /// Waits until the server has handled everything sent before on this connection, subscriptions included.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when that takes longer than `within`.
    pub async fn round_trip(&self, within: Duration) -> Result<(), Error> {
        use futures_util::StreamExt as _;
        let trip = async {
            let inbox = self.client.new_inbox();
            let mut subscription =
                self.client.subscribe(inbox.clone()).await.map_err(|e| self.unavailable().source_of(e))?;
            self.client.publish(inbox, "".into()).await.map_err(|e| self.unavailable().source_of(e))?;
            let arrived = subscription.next().await.is_some();
            // Dropping a subscriber tells the server only at its next message.
            let _ = subscription.unsubscribe().await;
            if arrived { Ok(()) } else { Err(self.unavailable()) }
        };
        timeout(within, trip).await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    /// Flushes and closes, for all clones.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when that takes longer than `within`; the connection is given up all the same.
    pub async fn close(&self, within: Duration) -> Result<(), Error> {
        let mut state = self.state.clone();
        if state.borrow().closed {
            return Ok(());
        }
        let close = async {
            let flushed = self.client.flush().await.map_err(|e| self.unavailable().source_of(e));
            let _ = self.client.drain().await;
            // An error means that the event task is gone, and with it the connection.
            let _ = state.wait_for(|state| state.closed).await;
            flushed
        };
        timeout(within, close).await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    pub(crate) fn unavailable(&self) -> Error {
        Error::new(
            ErrorKind::NatsUnavailable,
            format!(
                "the connection to NATS at {} doesn't answer; check the server and the network",
                self.target
            ),
        )
    }
}

/// Connects within [`NatsSettings::connect_timeout`], retrying until then. Refused credentials fail at once. Once
/// connected, the client reconnects for ever, with growing, jittered pauses, and keeps its subscriptions.
///
/// # Errors
/// [`ErrorKind::NatsUnavailable`], naming `host:port` and what to do; [`ErrorKind::Auth`] for refused credentials.
pub async fn connect(settings: &NatsSettings) -> Result<Connection, Error> {
    let target = settings.redacted();
    let servers = addresses(settings).map_err(|e| {
        Error::new(ErrorKind::NatsUnavailable, format!("{target} is no address of a NATS server"))
            .source_of(e)
    })?;
    let deadline = after(Instant::now(), settings.connect_timeout);
    let slow_consumers = Arc::new(AtomicU64::new(0));
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (events, state) = state::channel(&target, Arc::clone(&slow_consumers));
        let cause: Box<dyn std::error::Error + Send + Sync> = match timeout_at(
            deadline,
            options(settings, events).connect(servers.as_slice()),
        )
        .await
        {
            Ok(Ok(client)) => {
                tracing::debug!(nats = target, "connected to NATS");
                return Ok(Connection { client, state, slow_consumers, target: target.into() });
            }
            Ok(Err(error)) if is_refusal(&error) => {
                let detail = format!(
                    "the NATS server at {target} refused the credentials; check the user part of the NATS URL"
                );
                return Err(Error::new(ErrorKind::Auth, detail).source_of(error));
            }
            Ok(Err(error)) => error.into(),
            Err(_) => "the connection attempt took too long".into(),
        };
        let next = Instant::now() + pause(attempt, settings.reconnect_max);
        if next >= deadline {
            let detail = format!(
                "no NATS server answered at {target} within {} s; start the network there (`agentnet up`) or name \
                 another server (--nats-url, AGENTNET_NATS_URL)",
                settings.connect_timeout.as_secs_f64()
            );
            return Err(Error::new(ErrorKind::NatsUnavailable, detail).source_of(cause));
        }
        sleep_until(next).await;
    }
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

fn addresses(settings: &NatsSettings) -> Result<Vec<ServerAddr>, std::io::Error> {
    let scheme = |tls| if tls { "tls" } else { "nats" };
    settings.servers.iter().map(|server| format!("{}://{server}", scheme(server.tls)).parse()).collect()
}

fn options(settings: &NatsSettings, events: state::Events) -> ConnectOptions {
    let longest = settings.reconnect_max;
    let mut options = ConnectOptions::new()
        .name(&settings.name)
        .max_reconnects(None)
        .connection_timeout(settings.connect_timeout.min(Duration::from_secs(5)))
        .ping_interval(settings.ping_interval)
        .subscription_capacity(settings.subscription_capacity)
        .client_capacity(settings.send_capacity)
        .reconnect_delay_callback(move |attempt| pause(attempt.saturating_sub(1), longest))
        .event_callback(move |event| {
            events.observe(&event);
            std::future::ready(())
        });
    if let Some(prefix) = &settings.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    match &settings.auth {
        NatsAuth::Open => options,
        NatsAuth::Token(token) => options.token(token.expose_secret().to_owned()),
        NatsAuth::UserPassword(user, password) => {
            options.user_and_password(user.clone(), password.expose_secret().to_owned())
        }
        NatsAuth::NkeySeed(seed) => options.nkey(seed.expose_secret().to_owned()),
    }
}

/// Doubling pause with half of it random, so that the agents of a restarted server don't return as one.
pub(crate) fn pause(attempt: usize, longest: Duration) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(20);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap() {
        let cap = Duration::from_secs(2);
        assert_eq!(pause(0, cap), Duration::ZERO);
        assert!(pause(1, cap) <= FIRST_PAUSE);
        for attempt in [10, 64, usize::MAX] {
            let pause = pause(attempt, cap);
            assert!(pause <= cap && pause >= cap / 2, "{pause:?}");
        }
    }
}
