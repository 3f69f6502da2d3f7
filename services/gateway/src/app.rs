//! What every handler shares.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicU64},
};

use agentnet_proto::{SystemIds, ids::SharedIds};
use agentnet_service::{CancellationToken, health::HealthChecks};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    coordinator::FeedEnd,
    machines::Machines,
    own::Own,
    rates::{Limits, Strangers},
    seats::Seats,
    tokens::Tokens,
};

/// Refused sockets that are told why at once; more get a plain answer.
const MAX_REFUSALS: usize = 256;

/// What every handler shares. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Shared>);

/// What is behind [`App`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) ids: SharedIds,
    /// The gateway as itself.
    pub(crate) own: Arc<Own>,
    /// The accounts it acts for.
    pub(crate) seats: Seats,
    pub(crate) tokens: Tokens,
    pub(crate) machines: Machines,
    pub(crate) limits: Limits,
    pub(crate) strangers: Strangers,
    pub(crate) health: HealthChecks,
    /// Where the feed of changes ends.
    pub(crate) feed: FeedEnd,
    /// Live streams, which go on after their answer has begun.
    pub(crate) streams: TaskTracker,
    /// Room for them.
    pub(crate) room: Arc<Semaphore>,
    /// Room for sockets that are only told why they may not be.
    pub(crate) refusals: Arc<Semaphore>,
    /// Clients that were let go because they didn't read.
    pub(crate) slow: Arc<AtomicU64>,
    /// Cancelled when streams are to end.
    pub(crate) closing: CancellationToken,
}

impl App {
    pub(crate) fn new(config: Config, own: Arc<Own>, seats: Seats, health: HealthChecks) -> Self {
        let room = config.sockets.max;
        Self(Arc::new(Shared {
            ids: Arc::new(SystemIds::new(config.clock.clone())),
            limits: Limits::new(&config.rates),
            strangers: Strangers::new(config.rates.verify),
            tokens: Tokens::new(Arc::clone(&own), config.clock.clone()),
            machines: Machines::new(),
            config,
            own,
            seats,
            health,
            feed: FeedEnd::new(),
            streams: TaskTracker::new(),
            room: Arc::new(Semaphore::new(room)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            slow: Arc::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// The time now, ISO 8601.
    pub(crate) fn now(&self) -> String {
        self.config.clock.now().to_string()
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
