//! `Config` -> `build` -> `run`.

use std::{future::Future, sync::Arc, time::Duration};

use agentnet_proto::{
    IdGen as _, SharedClock, SystemIds,
    subject::{LEGACY_REPLY_INBOXES, PERSISTER_INBOX, PERSISTER_QUEUE},
};
use agentnet_service::{
    config::{ConfigError, Env},
    nats::Nats,
    service::{Deps, Service},
    shutdown::Shutdown,
};
use agentnet_store::{Store, StoreConfig, StoreError};
use async_nats::{Subscriber, jetstream};
use sqlx::migrate::MigrateError;
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    check::{Checker, KeyBook},
    config::Config,
    counters::Handle,
    decode::Rules,
    error::PersisterError,
    lag,
    notify::Notifier,
    progress::{self, AlarmConfig},
    source::{MEMORY_KIB, Source},
    stall,
    stream::{self, Opened, StreamError},
    tap::Tap,
    writer::{Writer, items_max},
};

/// One fills its transaction while the other one's commit waits for the disk.
const WRITERS: usize = 2;
/// The writers', one for keys, one for readiness, one for progress, two to spare while broken ones close.
const CONNECTIONS: u32 = 7;
/// Batches that may wait for their answers while the next one commits.
const ANSWERS_AHEAD: usize = 2;
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// A persister that is ready to run.
#[derive(Debug)]
pub struct Persister {
    config: Config,
    deps: Deps,
    store: Store,
    jetstream: jetstream::Context,
    opened: Opened,
    tap: Option<Subscriber>,
    /// News of keys, where they count.
    events: Option<Subscriber>,
    clock: SharedClock,
    handle: Handle,
}

impl Service for Persister {
    const NAME: &'static str = "agentnet-persister";
    const INBOX_PREFIX: Option<&'static str> = Some(PERSISTER_INBOX);
    type Link = Nats;
    type Config = Config;
    type Handle = Handle;
    type Error = PersisterError;

    fn read_config(env: &Env) -> Result<Config, ConfigError> {
        Config::from_env(env)
    }

    /// Waits for Postgres and JetStream, brings the schema and the stream up to date.
    async fn build(config: Config, deps: Deps) -> Result<(Self, Handle), PersisterError> {
        let store_config = StoreConfig {
            max_connections: CONNECTIONS,
            ..StoreConfig::new(config.database_url.clone(), Self::NAME)
        };
        let waited = config.start_deadline;
        until(waited, "Postgres", is_hopeless, || Store::migrate(&store_config))
            .await
            .map_err(|source| PersisterError::Database { waited, source })?;
        let store = Store::connect_lazy(&store_config)
            .map_err(|source| PersisterError::Database { waited, source })?;
        let jetstream = jetstream::new(deps.nats.client().clone());
        let unusable = |error: &StreamError| matches!(error, StreamError::Unusable { .. });
        let opened = until(waited, "JetStream", unusable, || stream::open(&jetstream, &config.stream))
            .await
            .map_err(|source| PersisterError::Stream { waited, source })?;
        let tap = match config.security.has_legacy_replies() {
            true => Some(
                deps.nats
                    .client()
                    .queue_subscribe(LEGACY_REPLY_INBOXES, PERSISTER_QUEUE.to_owned())
                    .await
                    .map_err(PersisterError::Tap)?,
            ),
            false => None,
        };
        let handle = Handle::default();
        register_checks(&deps, &store, &jetstream, &handle, config.alarm);
        // Before anything is pulled, so that the first sequence is accounted for.
        if let Err(cause) = progress::look(&jetstream, &store).await {
            tracing::warn!(cause, "the stream's progress can't be noted yet");
        }
        let clock = config.clock.clone();
        let events = match config.security.wants_signatures() {
            true => {
                Some(deps.nats.client().subscribe(KeyBook::subject()).await.map_err(PersisterError::Events)?)
            }
            false => None,
        };
        let persister =
            Self { config, deps, store, jetstream, opened, tap, events, clock, handle: handle.clone() };
        Ok((persister, handle))
    }

    /// Moves messages until a stop; then commits and answers what is in hand.
    async fn run(self, shutdown: Shutdown) -> Result<(), PersisterError> {
        let Self { config, deps, store, jetstream, opened, tap, events, clock, handle } = self;
        let is_signed = config.security.wants_signatures();
        let rules = Rules {
            max_message_bytes: config.max_message_bytes,
            chars_per_token: config.chars_per_token,
            is_signed,
        };
        let memory = Arc::new(Semaphore::new(MEMORY_KIB));
        let (checked_in, work_out) = mpsc::channel(items_max(config.batch_max));
        let (done_in, done_out) = mpsc::channel(ANSWERS_AHEAD);
        let stop = shutdown.token();
        // By name, so that the log says which part broke.
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        let work_in = match events {
            None => checked_in,
            Some(events) => {
                let (work_in, input) = mpsc::channel(items_max(config.batch_max));
                let keys = KeyBook::new(store.clone());
                let news = keys.clone().listen(events, deps.nats.clone(), stop.clone());
                parts.spawn(named("news of keys", news));
                let checker = Checker {
                    security: config.security,
                    deployment: config.deployment.clone(),
                    keys,
                    input,
                    out: checked_in,
                    handle: handle.clone(),
                };
                parts.spawn(named("checker", checker.run(shutdown.clone())));
                work_in
            }
        };
        if let Some(subscriber) = tap {
            let (clock, memory, out) = (clock.clone(), memory.clone(), work_in.clone());
            let tap = Tap { subscriber, clock, rules, memory, out, handle: handle.clone() };
            parts.spawn(named("tap", tap.run(stop.clone())));
        }
        let source = Source {
            jetstream: jetstream.clone(),
            config: config.stream,
            ahead: items_max(config.batch_max),
            rules,
            memory,
            out: work_in,
        };
        parts.spawn(named("source", source.run(opened, stop.clone())));
        let commits = Arc::default();
        let (work_out, ids) = (Arc::new(Mutex::new(work_out)), SystemIds::new(config.clock.clone()));
        for _ in 0..WRITERS {
            let writer = Writer {
                client: deps.nats.client().clone(),
                clock: clock.clone(),
                batch_max: config.batch_max,
                progress_every: config.stream.ack_wait / 3,
                input: work_out.clone(),
                commits: Arc::clone(&commits),
                out: done_in.clone(),
                handle: handle.clone(),
                replica: ids.ulid_lower(),
                timer: deps.stats.timer("db.persist_batch"),
                store: store.clone(),
                #[cfg(feature = "faulty")]
                acknowledges_before_commit: config.acknowledges_before_commit,
            };
            parts.spawn(named("writer", writer.run(shutdown.clone())));
        }
        drop(done_in);
        let notifier = Notifier { nats: deps.nats.clone(), input: done_out, handle: handle.clone() };
        parts.spawn(named("notifier", notifier.run()));
        let (board, stop_progress) = (handle.board.clone(), stop.clone());
        let watching = progress::watch(jetstream.clone(), store.clone(), board, stop_progress);
        parts.spawn(named("progress", watching));
        parts.spawn(named("stall", stall::watch(jetstream.clone(), config.stream, stop.clone())));
        parts.spawn(named("lag", lag::watch(jetstream, handle, stop)));
        let mut broken = None;
        while let Some(ended) = parts.join_next().await {
            let problem = match ended {
                Ok(name) if !shutdown.is_requested() => format!("{name} stopped"),
                Err(error) if error.is_panic() => "a panic".to_owned(),
                _ => continue,
            };
            // The others can do nothing sensible without it.
            broken = Some(problem);
            parts.abort_all();
        }
        store.close().await;
        broken.map_or(Ok(()), |problem| Err(PersisterError::Ended(problem)))
    }
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

fn register_checks(
    deps: &Deps,
    store: &Store,
    jetstream: &jetstream::Context,
    handle: &Handle,
    alarm: AlarmConfig,
) {
    let board = handle.board.clone();
    deps.health.register("progress", move || std::future::ready(board.check(alarm)));
    let store = store.clone();
    deps.health.register("database", move || {
        let store = store.clone();
        async move { store.ping().await.map_err(|error| error.to_string()) }
    });
    let jetstream = jetstream.clone();
    deps.health.register("stream", move || {
        let jetstream = jetstream.clone();
        async move { lag::look(&jetstream).await.map(drop) }
    });
}

/// Retrying helps against what is down, not against a wrong URL or a schema of another version.
fn is_hopeless(error: &StoreError) -> bool {
    match error {
        StoreError::BadUrl(_) => true,
        StoreError::Migrate(error) => {
            matches!(error, MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_))
        }
        _ => false,
    }
}

/// Tries until it works, the deadline passes or trying is hopeless; says every few seconds what it waits for.
async fn until<T, E, F, Fut>(
    deadline: Duration,
    what: &str,
    is_hopeless: impl Fn(&E) -> bool,
    attempt: F,
) -> Result<T, E>
where
    E: std::error::Error,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut logged: Option<Instant> = None;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if is_hopeless(&error) || started.elapsed() >= deadline {
            return Err(error);
        }
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            logged = Some(Instant::now());
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "waiting for {what}");
        }
        sleep(RETRY_PAUSE).await;
    }
}
