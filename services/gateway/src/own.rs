//! The gateway as itself: what it asks the registry in its own name, and as whom anonymous callers act in open mode.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use agentnet::{
    Identity, RegistryClient, Signer,
    connect::{Connection, KeyDoor, NatsAuth, NatsSettings, connect},
    proto::{AccountId, Security, signature::SecretKey, subject::inbox_prefix},
};
use agentnet_service::config::{NatsAuth as ConfiguredAuth, NatsConfig};
use secrecy::ExposeSecret as _;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    config::Config,
    error::GatewayError,
    seats::{Entry, Seat},
};

/// Name of the gateway's own account.
pub(crate) const NAME: &str = "gateway";
/// Pause between two attempts to enter the network.
const RETRY: Duration = Duration::from_millis(250);
/// How often the wait for the network is logged.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// The share of its time after which a connection is made anew.
const RENEW_AT: f64 = 0.6;
/// How long answers to what was asked on the older connection may take.
const GRACE: Duration = Duration::from_secs(5);

/// The gateway as itself.
#[derive(Debug)]
pub(crate) struct Own {
    link: RwLock<Link>,
    way: Way,
}

/// How to get in.
#[derive(Debug)]
enum Way {
    /// Where keys mean nothing.
    Open(Box<Open>),
    /// With the gateway's own key, which may log people in and little else.
    Key(Box<OwnKey>),
}

/// In open mode whoever has the network's token may be anybody: callers that show nothing act as these accounts, each of
/// which comes online with the first of them.
#[derive(Debug)]
struct Open {
    entry: Entry,
    seats: Mutex<HashMap<&'static str, Arc<Seat>>>,
}

/// The gateway's own key and what it takes to use it.
#[derive(Debug)]
struct OwnKey {
    settings: NatsSettings,
    security: Security,
    signer: Arc<Signer>,
    key: SecretKey,
}

#[derive(Debug, Clone)]
struct Link {
    registry: RegistryClient,
    connection: Connection,
    lifetime: Option<Duration>,
    account: Option<String>,
}

impl Own {
    /// Enters the network, waiting for it as long as the configuration says.
    pub(crate) async fn enter(
        entry: &Entry,
        nats: &NatsConfig,
        config: &Config,
    ) -> Result<Self, GatewayError> {
        let way = match config.security {
            Security::Open => Way::Open(Box::new(Open { entry: entry.clone(), seats: Mutex::default() })),
            security => Way::with_key(entry, nats, config, security)?,
        };
        let deadline = Instant::now() + config.start_deadline;
        let mut logged: Option<Instant> = None;
        loop {
            let error = match way.link().await {
                Ok(link) => return Ok(Self { link: RwLock::new(link), way }),
                Err(error) => error,
            };
            if Instant::now() + RETRY >= deadline {
                return Err(error);
            }
            if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                logged = Some(Instant::now());
                tracing::warn!(cause = agentnet_service::chain(&error), "waiting for the network");
            }
            sleep(RETRY).await;
        }
    }

    /// The registry, asked in the gateway's own name.
    pub(crate) fn registry(&self) -> RegistryClient {
        self.link().registry
    }

    /// The gateway's account, where it has one that is proved.
    pub(crate) fn account(&self) -> Option<String> {
        self.link().account
    }

    fn link(&self) -> Link {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As whom callers act that show nothing, by that username; `None` where they may not.
    pub(crate) async fn anonymous(&self, name: &'static str) -> Result<Option<Arc<Seat>>, agentnet::Error> {
        let Way::Open(open) = &self.way else { return Ok(None) };
        let mut seats = open.seats.lock().await;
        if let Some(seat) = seats.get(name).filter(|seat| !seat.node.is_closed()) {
            return Ok(Some(Arc::clone(seat)));
        }
        let node = open.entry.own(name).name("AgentNet gateway").start().await?;
        let new = Arc::new(Seat::of(node)?);
        seats.insert(name, Arc::clone(&new));
        Ok(Some(new))
    }

    /// Keeps the connection good: in secure mode it is let in for a time only.
    pub(crate) async fn renew(&self) {
        loop {
            let link = self.link();
            let Some(lifetime) = link.lifetime else { return std::future::pending().await };
            sleep(lifetime.mul_f64(RENEW_AT)).await;
            match self.way.link().await {
                Ok(fresh) => {
                    *self.link.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                    sleep(GRACE).await;
                    let _ = link.connection.close(GRACE).await;
                }
                // The older one reconnects by itself when its time is over.
                Err(error) => {
                    tracing::warn!(%error, "the gateway's own connection couldn't be renewed yet");
                    sleep(GRACE).await;
                }
            }
        }
    }

    /// Ends its sessions in order.
    pub(crate) async fn close(&self) {
        if let Way::Open(open) = &self.way {
            for (_, seat) in open.seats.lock().await.drain() {
                if let Err(error) = seat.node.close().await {
                    tracing::warn!(%error, "the gateway's own session ended with messages unconfirmed");
                }
            }
        }
        let _ = self.link().connection.close(GRACE).await;
    }
}

impl Way {
    fn with_key(
        entry: &Entry,
        nats: &NatsConfig,
        config: &Config,
        security: Security,
    ) -> Result<Self, GatewayError> {
        let seed = match (&nats.auth, &config.key_seed) {
            (ConfiguredAuth::NkeySeed(seed), _) | (_, Some(seed)) => seed,
            _ => return Err(GatewayError::NoKey),
        };
        let key = SecretKey::from_nkey_seed(seed.expose_secret()).map_err(|_| GatewayError::Key)?;
        let identity = Identity::of_key(NAME, key.clone());
        let signer = Arc::new(Signer::new(&identity, config.deployment.clone()));
        Ok(Self::Key(Box::new(OwnKey { settings: named(entry), security, signer, key })))
    }

    /// Connects, and has the registry answer.
    async fn link(&self) -> Result<Link, GatewayError> {
        match self {
            Self::Open(open) => with_token(&named(&open.entry), None).await,
            Self::Key(own) if own.security == Security::Signed => {
                with_token(&own.settings, Some(Arc::clone(&own.signer))).await
            }
            Self::Key(own) => own.link().await,
        }
    }
}

fn named(entry: &Entry) -> NatsSettings {
    entry.settings().clone().named("agentnet-gateway")
}

async fn with_token(settings: &NatsSettings, signer: Option<Arc<Signer>>) -> Result<Link, GatewayError> {
    let connection = connect(settings).await.map_err(GatewayError::Enter)?;
    let mut registry = RegistryClient::over(&connection);
    if let Some(signer) = signer {
        registry = registry.signed_by(signer);
    }
    if let Err(error) = registry.network().await {
        let _ = connection.close(GRACE).await;
        return Err(GatewayError::Enter(error));
    }
    Ok(Link { registry, connection, lifetime: None, account: None })
}

impl OwnKey {
    /// In secure mode: in two steps, because reply subjects name the account.
    async fn link(&self) -> Result<Link, GatewayError> {
        let Self { settings, signer, key, .. } = self;
        let door = KeyDoor::open(settings, key).await.map_err(GatewayError::Enter)?;
        let answer = door.registry().network().await;
        door.close().await;
        let answer = answer.map_err(GatewayError::Enter)?;
        let unknown = || GatewayError::Unknown(key.verifying().to_string());
        let account = answer.account.ok_or_else(unknown)?;
        if account.role != NAME {
            return Err(unknown());
        }
        let account = AccountId::new(account.account_id).map_err(|_| unknown())?;
        let mut settings = settings.clone();
        settings.auth = NatsAuth::NkeySeed(key.expose_nkey_seed().into());
        settings.inbox_prefix = Some(inbox_prefix(account.as_str()));
        let connection = connect(&settings).await.map_err(GatewayError::Enter)?;
        let own = Some(account.to_string());
        let registry = RegistryClient::over(&connection).as_account(account).signed_by(Arc::clone(signer));
        let lifetime = answer.connection_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        Ok(Link { registry, connection, lifetime, account: own })
    }
}
