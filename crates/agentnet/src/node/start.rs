//! From options to a node: register, subscribe, take up what an earlier process left, say hello.

use std::{
    sync::{Arc, Mutex, OnceLock, RwLock, atomic::AtomicBool},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Capability, Clock, Security, SharedClock, ids::SharedIds, rpc::RegisterResponse,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    AgentNode, Config, Inner, StopOnDrop,
    close::ExitHook,
    config::MAX_ACCOUNTS,
    entrance::Entrance,
    renew,
    session::{Session, register_patiently},
    tasks::{self, Subscriptions},
};
use crate::{
    auth::{Auth, Signer, Terms, open_key},
    blocks::Blocks,
    connect::Connection,
    error::Error,
    groups::{self, GROUP_LIFE, Invitations, MAX_GROUPS},
    handlers::Handling,
    inbox::{Guards, JobQueue, ReceiptBox, Remembered},
    journal::{Entry, Journal},
    metrics::Metrics,
    outbox::{self, Left, Outbox},
    registry::RegistryClient,
    request::Requests,
    streams::Streams,
    tasks::Tasks,
    ttl_map::TtlMap,
};

/// How long the server may take to confirm the node's subscriptions.
pub(super) const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What earlier processes of the agent left.
#[derive(Default)]
pub(super) struct Files {
    outbox: Option<(Journal, Left)>,
    dedupe: Option<(Remembered, Vec<Entry>)>,
}

impl Files {
    pub(super) async fn open(config: &Config, clock: &dyn Clock) -> Result<Self, Error> {
        let mut files = Self::default();
        if let Some(path) = &config.outbox_file {
            files.outbox = Some(outbox::open(path, clock).await?);
        }
        if let Some(path) = &config.dedupe_file {
            files.dedupe = Some(Remembered::open(path, &config.guards, clock).await?);
        }
        Ok(files)
    }
}

/// What a node is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) clock: SharedClock,
    pub(super) ids: SharedIds,
    pub(super) handling: Handling,
    pub(super) capabilities: Vec<Capability>,
    pub(super) files: Files,
    pub(super) exit_hook: ExitHook,
}

/// A node before it has its connection for good.
struct Ready {
    registry: RegistryClient,
    account: AccountId,
    answer: RegisterResponse,
    auth: Auth,
    lifetime: Option<Duration>,
}

impl Parts {
    pub(super) async fn start(self, entrance: Entrance) -> Result<AgentNode, Error> {
        let ready = match self.prepare(&entrance).await {
            Ok(ready) => ready,
            Err(error) => {
                entrance.close().await;
                return Err(error);
            }
        };
        let (connection, owns_connection) = entrance.enter(&ready.account).await?;
        let started = self.run(ready, connection.clone(), owns_connection).await;
        if started.is_err() && owns_connection {
            let _ = connection.close(Duration::from_secs(1)).await;
        }
        started
    }

    /// Finds out what the network asks for, and registers.
    async fn prepare(&self, entrance: &Entrance) -> Result<Ready, Error> {
        let Self { config, clock, ids, .. } = self;
        let registry = entrance.registry();
        let Terms { security, deployment, lifetime } = Terms::learn(config, &registry).await?;
        entrance.fits(security)?;
        let key = match entrance.key() {
            Some(key) => Some(key.clone()),
            None => open_key(config, security).await?,
        };
        let block = key.clone().filter(|_| config.dev_auth);
        let signer = key.zip(deployment.clone()).map(|(key, deployment)| {
            Arc::new(Signer::with(key, deployment, Arc::clone(clock), Arc::clone(ids)))
        });
        let registry = match &signer {
            Some(signer) => registry.signed_by(Arc::clone(signer)),
            None => registry,
        };
        let auth = Auth::new(security, deployment, signer, block);
        let (account, answer) =
            register_patiently(config, &registry, &auth, clock.as_ref(), ids.as_ref()).await?;
        let registry = match security {
            Security::Secure => registry.as_account(account.clone()),
            Security::Open | Security::Signed => registry,
        };
        Ok(Ready { registry, account, answer, auth, lifetime })
    }

    async fn run(
        self,
        ready: Ready,
        connection: Connection,
        owns_connection: bool,
    ) -> Result<AgentNode, Error> {
        let Self { config, clock, ids, handling, capabilities, files, exit_hook } = self;
        let Ready { registry, account, answer, auth, lifetime } = ready;
        let registry = registry.on(&connection);
        let began_at = clock.now();
        let wake = Arc::new(Notify::new());
        let (count, bytes, policy) = (config.outbox_max, config.outbox_bytes, config.outbox_policy);
        let mut outbox = Outbox::new(count, bytes, policy, Arc::clone(&wake));
        let mut left = Left::default();
        if let Some((journal, found)) = files.outbox {
            (outbox, left) = (outbox.with_file(journal, &found), found);
        }
        let handlers = handling.handlers()?;
        let listens = handlers.listens();
        let guards = Guards::new(&config.guards);
        let mut remembered = None;
        if let Some((file, entries)) = files.dedupe {
            guards.remember(file.handled(entries, &account, clock.as_ref())?, Instant::now());
            remembered = Some(file);
        }
        let inner = Arc::new(Inner {
            session: RwLock::new(Session::of(&answer, config.heartbeat)),
            metrics: Metrics::new(config.metrics_window),
            outbox,
            receipts: ReceiptBox::new(config.receipts_max, config.guards.dedupe_ttl, Arc::clone(&wake)),
            requests: Requests::new(config.requests_max),
            guards,
            remembered,
            jobs: JobQueue::new(config.max_pending, config.max_concurrency.max(1)),
            handlers,
            streams: Streams::new(config.stream_time, config.stream_silence),
            tasks: Tasks::new(answer.tasks_account.clone()),
            accounts: Mutex::new(TtlMap::new(config.resolve_cache_ttl, MAX_ACCOUNTS)),
            groups: Mutex::new(TtlMap::new(GROUP_LIFE, MAX_GROUPS)),
            blocks: Blocks::default(),
            invitations: Invitations::default(),
            thread_news: groups::news(),
            observers: super::observe::Observers::default(),
            accepting: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            cancel: CancellationToken::new(),
            online: AtomicBool::new(true),
            intake_wanted: watch::Sender::new(true),
            intake_paused: Notify::new(),
            switching: tokio::sync::Mutex::new(()),
            config,
            connection,
            registry,
            account,
            clock,
            ids,
            auth,
            began_at,
            wake,
            owns_connection,
            broken: OnceLock::new(),
        });
        inner.metrics.registrations.up();
        let heard = listens.then_some(capabilities.as_slice());
        let subscriptions =
            Subscriptions::open(&inner.connection, &inner.account, heard, inner.auth.checks()).await?;
        // A block that was made since the registry answered, and before news of it are heard, is found with the first heartbeat.
        if listens || answer.blocks {
            inner.blocks.changed();
        }
        if answer.blocks {
            inner.refresh_blocks().await?;
        }
        // The first hello makes the network deliver what waits: the subscriptions must stand before.
        inner.connection.round_trip(SUBSCRIBE_TIMEOUT).await?;
        let stop = Arc::new(StopOnDrop(Arc::clone(&inner)));
        // Before the tasks hear confirmations of it.
        let left = inner.take_up(left)?;
        let (tasks, feeds) = tasks::spawn(&inner, subscriptions, capabilities);
        let feeds = Arc::new(feeds);
        if let Some(lifetime) = lifetime.filter(|_| owns_connection) {
            let renewal = renew::run(Arc::clone(&inner), Arc::clone(&feeds), lifetime);
            tasks::spawn_watched(&inner, "renewal", renewal);
        }
        inner.hello().await?;
        tracing::debug!(account = %inner.account, session = answer.session_tag, "registered");
        let (tasks, left) = (Arc::new(Mutex::new(tasks)), Arc::new(Mutex::new(left)));
        Ok(AgentNode { inner, tasks, feeds, left, exit_hook, _stop: stop })
    }
}
