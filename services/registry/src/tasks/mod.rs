//! Tasks: giving them to workers, and noticing when nothing comes of it (ADR 0009).
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | what the environment can say |
//! | [`strategy`] | which of the eligible workers: pure functions |
//! | `eligible` | who is online, takes tasks, and fits |
//! | `assign` | rounds of assigning |
//! | `deliver` | the message that brings a task to its worker |
//! | `sweep` | leases, deadlines, lost workers, figures |
//! | `tell` | events |
//!
//! Any number of replicas do this at once.

mod assign;
pub mod config;
mod deliver;
mod eligible;
pub mod strategy;
mod sweep;
mod tell;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use agentnet_service::nats::Nats;
use agentnet_store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::TaskConfig;
pub use self::deliver::SenderError;
pub(crate) use self::tell::{announce, tell};
use crate::app::{App, chain};
use deliver::Sender;

/// What requests and the engine share.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Rung when there may be something to assign.
    pub(crate) woken: Notify,
    /// The account that tasks come from.
    account: OnceLock<String>,
    /// Submitters with many open tasks, and how many.
    open: Mutex<HashMap<String, i64>>,
}

impl Tasks {
    /// The account that tasks come from.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.get().map(String::as_str)
    }

    /// Whether the submitter may have one more; counts it.
    pub(crate) fn has_room(&self, submitter: &str, most: i64) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(submitter.to_owned()).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    fn counted(&self, counts: Vec<(String, i64)>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = counts.into_iter().collect();
    }
}

/// A worker that is online, takes tasks and is active.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    /// Tasks it has in hand.
    pub(crate) in_hand: i64,
    /// Whether it has a weight other than 1.
    pub(crate) weighted: bool,
}

/// Those that could be given tasks.
///
/// # Errors
/// Postgres.
pub(crate) async fn active(app: &App) -> Result<Vec<Active>, StoreError> {
    let offers = eligible::offers(app);
    let accounts: Vec<String> = offers.keys().cloned().collect();
    let figures = agentnet_store::tasks::worker_figures(app.store.pool(), &accounts).await?;
    let workers = eligible::eligible(offers, figures);
    let active =
        |worker: &eligible::Worker| Active { in_hand: worker.choice.in_hand, weighted: worker.is_weighted() };
    Ok(workers.iter().map(active).collect())
}

/// The part that works by itself.
#[derive(Debug)]
pub(crate) struct Engine {
    app: Arc<App>,
    nats: Nats,
    sender: Sender,
    config: TaskConfig,
    stop: CancellationToken,
}

impl Engine {
    /// Makes the account that tasks come from, if it isn't there.
    ///
    /// # Errors
    /// Postgres.
    pub(crate) async fn new(
        app: Arc<App>,
        nats: Nats,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, SenderError> {
        let sender = Sender::ensure(&app).await?;
        let _ = app.tasks.account.set(sender.account().to_owned());
        let config = app.config.tasks;
        Ok(Arc::new(Self { app, nats, sender, config, stop }))
    }

    /// Works until told to stop.
    pub(crate) async fn run(self: Arc<Self>) {
        let parts = TaskTracker::new();
        parts.spawn(self.clone().assign());
        parts.spawn(self.clone().follow_workers());
        parts.spawn(self.clone().sweep());
        parts.close();
        parts.wait().await;
    }

    /// Whether what is published now arrives now.
    fn may_work(&self) -> bool {
        !self.stop.is_cancelled() && self.nats.is_connected()
    }

    fn logged<T>(&self, operation: &'static str, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.app.failures.log(operation, &chain(&error))).ok()
    }
}
