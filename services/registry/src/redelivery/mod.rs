//! Delivering again what nobody finished, and giving up what nobody will.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | what the environment can say |
//! | `wake` | who came and went: makes rows due, nothing else |
//! | `tick` | the timer: recipients that have something due, time to live that ran out, figures |
//! | `drain` | one recipient: leases rows in windows and publishes them |
//! | `decide` | what to do with a row that is due |
//! | `publish` | the stored bytes, with signature and attempt |
//! | `tell` | what was given up, to the senders |
//!
//! Any number of replicas do this at once. Rows are locked while they are leased; a recipient belongs to one replica at
//! a time, so that its window and its rates hold. A replica that dies holds nobody up for longer than its leases.

pub mod config;
mod decide;
mod drain;
mod publish;
mod tell;
mod tick;
mod wake;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentnet_service::nats::Nats;
use agentnet_store::StoreError;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::RedeliveryConfig;
pub(crate) use self::tell::tell_senders;
use crate::app::{App, chain};

/// Connections to Postgres that redelivery uses at most at once, so that requests find some.
const DB_SHARE: usize = 3;
/// Recipients that are delivered to at once; others wait for the timer.
const MOST_DRAINS: usize = 256;
/// Messages a second to a session of an older version from one sender: its own limit is 5.
const LEGACY_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// Recipients whose legacy limits are remembered, and for how long: until their bucket is full again.
const LEGACY_RECIPIENTS: u64 = 10_000;
const LEGACY_MEMORY: Duration = Duration::from_secs(10);

/// Limits by sender.
type Senders = DefaultKeyedRateLimiter<String>;

/// What the parts of redelivery share.
#[derive(Debug)]
pub struct Redelivery {
    app: Arc<App>,
    nats: Nats,
    /// Names this process among the replicas.
    replica: String,
    config: RedeliveryConfig,
    /// Recipients being delivered to; whether they were woken once more meanwhile.
    active: Mutex<HashMap<String, bool>>,
    db: Semaphore,
    /// All deliveries of this replica.
    rate: DefaultDirectRateLimiter,
    legacy: Cache<String, Arc<Senders>>,
    counters: Counters,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Figures since the start.
#[derive(Debug, Default)]
struct Counters {
    redelivered: AtomicU64,
    expired: AtomicU64,
    dead: AtomicU64,
    /// Milliseconds.
    oldest_undelivered: AtomicU64,
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages published again.
    pub redelivered: u64,
    /// Deliveries whose time to live ran out.
    pub expired: u64,
    /// Deliveries whose attempts were used up.
    pub dead: u64,
    /// How long the oldest delivery has waited for a recipient that is online.
    pub oldest_undelivered: Duration,
}

impl Redelivery {
    /// Nothing runs yet.
    pub(crate) fn new(app: Arc<App>, nats: Nats, stop: CancellationToken) -> Arc<Self> {
        let config = app.config.redelivery;
        let burst = NonZeroU32::new(config.window).unwrap_or(NonZeroU32::MIN);
        Arc::new(Self {
            replica: app.ids.session_tag(&app.config.server_id),
            rate: RateLimiter::direct(quota(config.rate).allow_burst(burst)),
            legacy: Cache::builder().max_capacity(LEGACY_RECIPIENTS).time_to_idle(LEGACY_MEMORY).build(),
            active: Mutex::default(),
            db: Semaphore::new(DB_SHARE),
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            app,
            nats,
            config,
            stop,
        })
    }

    /// Works until told to stop.
    pub(crate) async fn run(self: Arc<Self>) {
        self.tasks.spawn(self.clone().follow_wakes());
        self.tasks.spawn(self.clone().tick());
        self.stop.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The figures now.
    pub(crate) fn figures(&self) -> Figures {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Figures {
            redelivered: get(&self.counters.redelivered),
            expired: get(&self.counters.expired),
            dead: get(&self.counters.dead),
            oldest_undelivered: Duration::from_millis(get(&self.counters.oldest_undelivered)),
        }
    }

    /// Whether what is published now arrives now. Without a connection it would arrive after its lease.
    fn may_work(&self) -> bool {
        !self.stop.is_cancelled() && self.nats.is_connected()
    }

    /// A share of Postgres; waits for one.
    async fn db(&self) -> SemaphorePermit<'_> {
        // Nobody closes the semaphore.
        match self.db.acquire().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        }
    }

    /// Starts delivering to a recipient, or has whoever does that look again. `woken`: somebody has come.
    fn start_drain(self: &Arc<Self>, recipient: String, woken: bool) {
        {
            let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(again) = active.get_mut(&recipient) {
                *again |= woken;
                return;
            }
            if active.len() >= MOST_DRAINS {
                return;
            }
            active.insert(recipient.clone(), false);
        }
        self.tasks.spawn(self.clone().drain(recipient, woken));
    }

    fn is_full(&self) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).len() >= MOST_DRAINS
    }

    fn active(&self) -> Vec<String> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The limits towards a recipient of an older version.
    fn legacy_limits(&self, recipient: &str) -> Arc<Senders> {
        self.legacy.get_with(recipient.to_owned(), || {
            Arc::new(RateLimiter::keyed(Quota::per_second(LEGACY_RATE).allow_burst(NonZeroU32::MIN)))
        })
    }

    fn logged<T>(&self, operation: &'static str, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.app.failures.log(operation, &chain(&error))).ok()
    }
}

fn quota(per_second: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN))
}
