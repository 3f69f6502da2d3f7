//! The connection to NATS: bounded at start, healing itself for ever afterwards.

pub mod context;
mod door;
mod mode;
mod settings;
mod state;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use agentnet_proto::{AccountId, Subject, subject::Token};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use secrecy::ExposeSecret;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};

pub use door::KeyDoor;
pub use mode::enters_with_key;
pub(crate) use mode::own_enrolment_token;
pub use settings::{
    LOCAL_NATS_URL, NatsAuth, NatsServer, NatsSettings, NatsTls, URL_VARIABLES, default_nats_url,
};
pub use state::ConnectionState;

use crate::{
    deadline::after,
    error::{Error, ErrorKind},
};

/// Pause before the second attempt; it doubles up to [`NatsSettings::reconnect_max`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Looking a key up takes a registry milliseconds; without its database it gives up after 1.5 s, and nats-server waits
/// 1.9 s for an answer.
const SLOW_REFUSAL: Duration = Duration::from_secs(1);

/// A connection with its state. Cheap to clone; all clones share the connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Another one after every renewal.
    client: Arc<RwLock<Arc<Client>>>,
    signals: Arc<state::Signals>,
    settings: Arc<NatsSettings>,
    target: Arc<str>,
}

/// A client that is to take a connection over.
pub(crate) struct Fresh {
    pub(crate) client: Arc<Client>,
    generation: u64,
}

impl Connection {
    /// The NATS client of the moment. In secure mode another takes its place before its permission expires, so ask again
    /// rather than keep it.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects once more, as somebody new; nothing changes before [`Self::switch_to`].
    pub(crate) async fn fresh(&self) -> Result<Fresh, Error> {
        let generation = self.signals.generation() + 1;
        let client = connect_client(&self.settings, &self.signals, generation).await?;
        Ok(Fresh { client: Arc::new(client), generation })
    }

    /// From now on this connection is the fresh client's. Returns the one before, which still hears what it is
    /// subscribed to.
    pub(crate) fn switch_to(&self, fresh: Fresh) -> Arc<Client> {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        self.signals.switch_to(fresh.generation);
        std::mem::replace(&mut client, fresh.client)
    }

    /// Servers without credentials, for people.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Follows the connection's state.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.signals.follow()
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.client().connection_state() == async_nats::connection::State::Connected
    }

    /// How often a subscription of this connection was full, so that a message was dropped.
    pub fn slow_consumer_count(&self) -> u64 {
        self.signals.slow_consumers()
    }

    /// Writes everything published so far to the socket.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when that takes longer than `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        match timeout(within, self.client().flush()).await {
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
        self.round_trip_of(&self.client(), within).await
    }

    /// [`Self::round_trip`] of a client that may be about to take over.
    pub(crate) async fn round_trip_of(&self, client: &Client, within: Duration) -> Result<(), Error> {
        use futures_util::StreamExt as _;
        let trip = async {
            let inbox = self.own_subject(client);
            let mut subscription =
                client.subscribe(inbox.clone()).await.map_err(|e| self.unavailable().source_of(e))?;
            client.publish(inbox, "".into()).await.map_err(|e| self.unavailable().source_of(e))?;
            let arrived = subscription.next().await.is_some();
            // Dropping a subscriber tells the server only at its next message.
            let _ = subscription.unsubscribe().await;
            if arrived { Ok(()) } else { Err(self.unavailable()) }
        };
        timeout(within, trip).await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    /// The account that it was [entered](KeyDoor::enter) as, in secure mode.
    pub fn account(&self) -> Option<AccountId> {
        let owner = self.settings.inbox_prefix.as_deref()?.strip_prefix("_INBOX.")?;
        AccountId::new(owner).ok().filter(AccountId::is_canonical)
    }

    /// A subject that this connection may both publish and hear. In secure mode that isn't its reply subjects, where only
    /// the network speaks.
    fn own_subject(&self, client: &Client) -> String {
        let inbox = client.new_inbox();
        let last = inbox.rsplit('.').next().and_then(|token| Token::new(token).ok());
        match self.account().zip(last) {
            Some((account, token)) => Subject::Stream(account, token).to_string(),
            None => inbox,
        }
    }

    /// Flushes and closes, for all clones.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when that takes longer than `within`; the connection is given up all the same.
    pub async fn close(&self, within: Duration) -> Result<(), Error> {
        let (client, mut state) = (self.client(), self.state());
        if state.borrow().closed {
            return Ok(());
        }
        let close = async {
            let flushed = client.flush().await.map_err(|e| self.unavailable().source_of(e));
            let _ = client.drain().await;
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
/// [`ErrorKind::NatsUnavailable`], naming `host:port` and what to do; [`ErrorKind::Auth`] for refused credentials;
/// [`ErrorKind::RegistryUnavailable`] when no registry says whether the key may connect (secure mode).
pub async fn connect(settings: &NatsSettings) -> Result<Connection, Error> {
    let target = settings.redacted();
    let signals = Arc::new(state::Signals::new(&target));
    let client = connect_client(settings, &signals, signals.generation()).await?;
    tracing::debug!(nats = target, "connected to NATS");
    Ok(Connection {
        client: Arc::new(RwLock::new(Arc::new(client))),
        signals,
        settings: Arc::new(settings.clone()),
        target: target.into(),
    })
}

async fn connect_client(
    settings: &NatsSettings,
    signals: &Arc<state::Signals>,
    generation: u64,
) -> Result<Client, Error> {
    let target = settings.redacted();
    let servers = addresses(settings).map_err(|e| {
        Error::new(ErrorKind::NatsUnavailable, format!("{target} is no address of a NATS server"))
            .source_of(e)
    })?;
    let deadline = after(Instant::now(), settings.connect_timeout);
    let mut attempt = 0;
    let mut nobody_answers_for_keys = false;
    loop {
        attempt += 1;
        let began = Instant::now();
        let events = state::Events::new(Arc::clone(signals), generation);
        let attempted = timeout_at(deadline, options(settings, events).connect(servers.as_slice())).await;
        let cause: Box<dyn std::error::Error + Send + Sync> = match attempted {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => {
                nobody_answers_for_keys = is_for_want_of_a_registry(settings, began.elapsed());
                if is_refusal(&error) && !nobody_answers_for_keys {
                    return Err(refused(settings).source_of(error));
                }
                error.into()
            }
            Err(_) => "the connection attempt took too long".into(),
        };
        let next = Instant::now() + pause(attempt, settings.reconnect_max);
        if next >= deadline {
            return Err(unreachable_within(settings, nobody_answers_for_keys).source_of(cause));
        }
        sleep_until(next).await;
    }
}

fn refused(settings: &NatsSettings) -> Error {
    let target = settings.redacted();
    let detail = match &settings.auth {
        NatsAuth::NkeySeed(_) => format!(
            "the network at {target} doesn't let this key in: it was revoked or rotated out, its account is suspended, or too \
             many new keys came from this address at once; the logs of the registry and of nats-server say which"
        ),
        NatsAuth::Open | NatsAuth::Token(_) | NatsAuth::UserPassword(..) => format!(
            "the NATS server at {target} refused the credentials; check the user part of the NATS URL, and \
             AGENTNET_SECURITY: in secure mode agents connect with their key"
        ),
    };
    Error::new(ErrorKind::Auth, detail)
}

fn unreachable_within(settings: &NatsSettings, nobody_answers_for_keys: bool) -> Error {
    let (target, waited) = (settings.redacted(), settings.connect_timeout.as_secs_f64());
    if nobody_answers_for_keys {
        let detail = format!(
            "no registry told the NATS server at {target} within {waited} s whether this key may connect; check that the \
             registry and its database run, and try again. Who is connected goes on meanwhile"
        );
        return Error::new(ErrorKind::RegistryUnavailable, detail);
    }
    let detail = format!(
        "no NATS server answered at {target} within {waited} s; start the network there (`agentnet up`) or name another \
         server (--nats-url, AGENTNET_NATS_URL)"
    );
    Error::new(ErrorKind::NatsUnavailable, detail)
}

/// Whether a refusal of a key says nothing about the key: nobody could look it up. NATS has one word for both, but a
/// registry that knows the key answers at once, while one without its database takes longer, and for none the server
/// waits longer still.
fn is_for_want_of_a_registry(settings: &NatsSettings, took: Duration) -> bool {
    matches!(settings.auth, NatsAuth::NkeySeed(_)) && took >= SLOW_REFUSAL
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
    if let Some(ca) = &settings.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = &settings.tls.client {
        options = options.add_client_certificate(cert.clone(), key.clone());
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
