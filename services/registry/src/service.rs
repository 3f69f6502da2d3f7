//! Building, running and stopping the registry.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentnet_proto::ids::SystemIds;
use agentnet_proto::subject::REGISTRY_INBOX;
use agentnet_service::config::{ConfigError, Env};
use agentnet_service::nats::{ConnectionState, Nats};
use agentnet_service::rpc::{RpcServer, StartError};
use agentnet_service::service::{Deps, Service};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::{Store, StoreError, sessions};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, FailureLog, chain};
use crate::blobs::Blobs;
use crate::cache::Caches;
use crate::callout::{self, CalloutError};
use crate::config::Config;
use crate::enrolment::Enrolling;
use crate::gc::{self, Round};
use crate::presence::{Presence, Rules};
use crate::redelivery::{Figures, Redelivery};
use crate::restricted::Restricted;
use crate::suspended::Suspended;
use crate::tasks::{self, SenderError, Tasks};
use crate::users::{GatewayError, Users, gateways};
use crate::{flush, rpc, statuses};

/// Pause between two attempts to reach Postgres at start.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the last flush may take.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// Why the registry couldn't start.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Postgres can't be reached, or its schema not brought up to date.
    #[error("the database is not usable")]
    Store(#[source] StoreError),
    /// NATS refused the subscriptions.
    #[error("subscribing failed")]
    Start(#[source] StartError),
    /// The gateways' accounts can't be made.
    #[error("the accounts of AGENTNET_GATEWAY_KEYS can't be made")]
    Gateways(#[source] GatewayError),
    /// The account that tasks come from can't be made.
    #[error("the account that sends tasks can't be made")]
    Tasks(#[source] SenderError),
    /// Nobody could connect.
    #[error("the auth callout can't be served")]
    Callout(#[source] CalloutError),
}

/// The running registry.
#[derive(Debug)]
pub struct Registry {
    app: Arc<App>,
    server: RpcServer,
    background: TaskTracker,
    stop: CancellationToken,
}

/// What a host of the registry can see and do.
#[derive(Clone, Debug)]
pub struct Handle {
    app: Arc<App>,
    redelivery: Arc<Redelivery>,
}

impl Handle {
    /// Name of this replica.
    pub fn server_id(&self) -> &str {
        &self.app.config.server_id
    }

    /// Sessions in this replica's memory.
    pub fn sessions(&self) -> usize {
        self.app.presence.len()
    }

    /// Writes presence to Postgres now instead of at the next interval; whether that worked.
    pub async fn flush(&self) -> bool {
        flush::flush(&self.app).await
    }

    /// What redelivery has done.
    pub fn redelivery(&self) -> Figures {
        self.redelivery.figures()
    }

    /// Runs one round of the garbage collection now.
    pub async fn collect(&self) -> Round {
        gc::round(&self.app).await
    }
}

impl Service for Registry {
    const NAME: &'static str = "agentnet-registry";
    const INBOX_PREFIX: Option<&'static str> = Some(REGISTRY_INBOX);
    type Link = Nats;
    type Config = Config;
    type Handle = Handle;
    type Error = RegistryError;

    fn read_config(env: &Env) -> Result<Config, ConfigError> {
        Config::from_env(env)
    }

    fn stats_window(config: &Config) -> usize {
        config.metrics_window
    }

    async fn build(config: Config, deps: Deps) -> Result<(Self, Handle), RegistryError> {
        migrate(&config).await.map_err(RegistryError::Store)?;
        let store = Store::connect(&config.store).await.map_err(RegistryError::Store)?;
        let clock = config.clock.clone();
        let presence = Presence::new(Rules {
            ttl: config.ttl,
            late_after: config.heartbeat * 2,
            max_sessions: config.max_sessions,
        });
        let limit = i64::try_from(config.max_sessions).unwrap_or(i64::MAX);
        let known = sessions::online(store.pool(), limit).await.map_err(RegistryError::Store)?;
        presence.load(&known, clock.now());
        let app = Arc::new(App {
            store: store.clone(),
            presence,
            caches: Caches::default(),
            blobs: Blobs::new(deps.nats.client().clone(), config.blobs.clone()),
            suspended: Suspended::default(),
            restricted: Restricted::default(),
            enrolling: Enrolling::default(),
            users: Users::new(&config),
            tasks: Tasks::default(),
            registering: Semaphore::new(config.store.max_connections as usize),
            ids: Arc::new(SystemIds::new(clock.clone())),
            clock,
            client: deps.nats.client().clone(),
            stats: deps.stats,
            failures: FailureLog::default(),
            config,
        });
        app.restricted.refresh(&app.store).await.map_err(RegistryError::Store)?;
        app.suspended.refresh(&app.store).await.map_err(RegistryError::Store)?;
        gateways::ensure(&app).await.map_err(RegistryError::Gateways)?;
        deps.health.register("postgres", move || {
            let store = store.clone();
            async move { store.ping().await.map_err(|error| error.to_string()) }
        });
        let (background, stop) = (TaskTracker::new(), CancellationToken::new());
        // Before anybody registers, who is told which account tasks come from.
        let engine = tasks::Engine::new(app.clone(), deps.nats.clone(), stop.clone());
        let engine = engine.await.map_err(RegistryError::Tasks)?;
        let server = rpc::start(&app, &deps.nats).await.map_err(RegistryError::Start)?;
        // After the methods: who is let in finds them.
        if let Some(config) = &app.config.callout {
            callout::start(&app, config, &background, stop.clone()).await.map_err(RegistryError::Callout)?;
            match config.system_seed.clone() {
                Some(seed) => callout::start_kicks(&app, deps.nats.config(), seed, &background, stop.clone())
                    .await
                    .map_err(RegistryError::Callout)?,
                None => tracing::warn!(
                    "AGENTNET_SYSTEM_NKEY_SEED is not set: connections of revoked keys and suspended accounts last until \
                     their permission expires"
                ),
            }
        }
        background.spawn(flush::run(app.clone(), stop.clone()));
        background.spawn(gc::run(app.clone(), stop.clone()));
        background.spawn(statuses::run(app.clone(), stop.clone()));
        background.spawn(watch_connection(app.clone(), deps.nats.clone(), stop.clone()));
        let redelivery = Redelivery::new(app.clone(), deps.nats.clone(), stop.clone());
        background.spawn(redelivery.clone().run());
        background.spawn(engine.run());
        let checked = redelivery.clone();
        deps.health.register("undelivered", move || std::future::ready(checked.check()));
        if app.config.announce {
            announce(&app.config, deps.nats.target());
        }
        let handle = Handle { app: app.clone(), redelivery };
        Ok((Self { app, server, background, stop }, handle))
    }

    async fn run(self, shutdown: Shutdown) -> Result<(), RegistryError> {
        shutdown.requested().await;
        let drained = self.server.shutdown(&shutdown).await;
        if drained.cut_off > 0 {
            tracing::warn!(cut_off = drained.cut_off, left = drained.left, "calls were cut off by the stop");
        }
        self.stop.cancel();
        self.background.close();
        // What isn't written now is heard again with the next hellos.
        let _ = tokio::time::timeout(LAST_FLUSH, self.background.wait()).await;
        self.app.store.close().await;
        Ok(())
    }
}

/// Brings the schema up to date, waiting for Postgres for as long as the configuration says.
async fn migrate(config: &Config) -> Result<(), StoreError> {
    let give_up = Instant::now() + config.db_connect;
    let mut told = false;
    loop {
        match Store::migrate(&config.store).await {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::Unavailable(_)) if Instant::now() < give_up => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(cause = chain(&error), "waiting for Postgres");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// While NATS is away nobody can be heard, so nobody may be declared dead; events may be missed, so nothing may be
/// remembered for long.
async fn watch_connection(app: Arc<App>, nats: Nats, stop: CancellationToken) {
    let mut state = nats.connection_state();
    loop {
        let now = *state.borrow_and_update();
        match now {
            ConnectionState::Connected => {
                app.presence.thaw();
                app.caches.forget_all();
            }
            ConnectionState::Disconnected => app.presence.freeze(),
            ConnectionState::Closed => return,
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// The original's line on stdout, for scripts that wait for it; without the credentials it had.
fn announce(config: &Config, nats: &str) {
    let line = format!(
        "registry ready: nats={nats} server_id={} ttl={} heartbeat={} security={}",
        config.server_id,
        config.ttl.as_secs_f64(),
        config.heartbeat.as_secs_f64(),
        config.security.as_str(),
    );
    // Nothing is left to do when stdout is closed.
    let _ = writeln!(std::io::stdout(), "{line}");
}
