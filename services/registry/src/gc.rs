//! The rounds that end stale sessions and prune what is old. Any number of replicas may run them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::AccountEvent;
use agentnet_store::{
    StoreError, agents, attempts, blobs as stored, connections, deliveries, enrolment, guests, logins,
    retention, sessions, tasks, token_keys,
};
use tokio_util::sync::CancellationToken;

use crate::app::{App, chain};
use crate::blobs;
use crate::events::{self, OfflineReason, announce_offline};
use crate::flush;

/// Stale rows ended by one round.
const END_BATCH: i64 = 2_000;
/// Threads looked at by one step, and by one round.
const THREADS_PER_STEP: i64 = 100;
const THREADS_PER_ROUND: u64 = 500;
/// Receipts whose message never came are kept so long.
const STUB_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// How long events can be resumed from.
const FEED_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Steps of one kind in one round; what is left waits for the next.
const MAX_STEPS: usize = 20;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Sessions dropped from this replica's memory.
    pub evicted: usize,
    /// Session rows that went offline by this round.
    pub ended: u64,
    /// Rows and threads pruned.
    pub pruned: u64,
}

/// Rounds until told to stop.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(app.config.gc_interval) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = round(&app) => {}
        }
    }
}

/// One round. A part that fails is logged and left for the next round.
pub(crate) async fn round(app: &App) -> Round {
    let mut round = Round { evicted: app.presence.evict(), ..Round::default() };
    // First what we know, then what the rows say: after an outage of Postgres every row looks stale until then.
    if app.presence.may_judge() && flush::flush(app).await {
        let slack = app.config.flush_interval * 2;
        let ended = sessions::end_stale(app.store.pool(), app.config.ttl + slack, END_BATCH).await;
        if let Some(ended) = logged(app, "db.end_stale_sessions", ended) {
            round.ended = ended.len() as u64;
            for session in &ended {
                app.presence.ended_by_row(&session.session_tag, session.account_id.as_deref());
            }
            announce_offline(app, ended, OfflineReason::Expired).await;
        }
    }
    // What no event told.
    let suspended = app.suspended.refresh(&app.store).await;
    for account in logged(app, "db.suspended", suspended).unwrap_or_default() {
        app.presence.end_account(&account);
    }
    logged(app, "db.restricted", app.restricted.refresh(&app.store).await);
    round.pruned = prune(app).await;
    metrics::gauge!("agentnet_registry_sessions").set(app.presence.len() as f64);
    round
}

async fn prune(app: &App) -> u64 {
    let db = app.store.pool();
    let config = &app.config;
    let mut pruned = steps(app, "retention.nonces", || retention::nonces(db)).await;
    pruned += steps(app, "retention.connections", || connections::forget_expired(db)).await;
    pruned += steps(app, "retention.enrolment", || enrolment::forget_expired(db)).await;
    pruned += steps(app, "retention.logins", || logins::forget_expired(db)).await;
    pruned += steps(app, "retention.login_attempts", || attempts::forget_expired(db)).await;
    pruned += logged(app, "retention.token_keys", token_keys::forget_expired(db).await).unwrap_or(0);
    let sessions = || retention::offline_sessions(db, config.session_retention);
    pruned += steps(app, "retention.sessions", sessions).await;
    pruned += prune_guests(app).await;
    let quarantine = || retention::quarantine(db, config.quarantine_retention);
    pruned += steps(app, "retention.quarantine", quarantine).await;
    let stubs = || retention::delivery_stubs(db, STUB_RETENTION);
    pruned += steps(app, "retention.delivery_stubs", stubs).await;
    pruned += steps(app, "retention.redelivery_owners", || deliveries::prune_owners(db)).await;
    let feed = || agents::prune_feed(db, FEED_RETENTION);
    pruned += steps(app, "retention.feed", feed).await;
    pruned += steps(app, "blobs.expire", || stored::expire(db)).await;
    pruned +=
        steps(app, "blobs.expire_uploads", || stored::expire_uploads(db, config.blobs.upload_ttl)).await;
    pruned += steps(app, "blobs.prune_shares", || stored::prune_shares(db)).await;
    pruned += blobs::sweep(app).await;
    pruned += steps(app, "retention.tasks", || tasks::forget(db, config.tasks.retention)).await;
    let mut threads = 0;
    let step = || retention::stale_threads(db, config.thread_retention, THREADS_PER_STEP);
    for _ in 0..MAX_STEPS {
        let Some(done) = logged(app, "retention.threads", step().await) else { break };
        threads += done.threads;
        pruned += done.threads + done.messages;
        if (done.threads == 0 && done.messages == 0) || threads >= THREADS_PER_ROUND {
            break;
        }
        breathe().await;
    }
    pruned
}

/// Guests whose time is over, out of their threads first, and their names out of every replica's memory.
async fn prune_guests(app: &App) -> u64 {
    let mut pruned = 0;
    for _ in 0..MAX_STEPS {
        let gone = guests::prune(app.store.pool(), app.config.guest_retention, app.now()).await;
        let Some(gone) = logged(app, "retention.guests", gone) else { break };
        if gone.is_empty() {
            break;
        }
        for (account_id, username) in gone {
            let event = AccountEvent { account_id, usernames: vec![username], ..AccountEvent::default() };
            events::take_account(app, &event).await;
            events::announce_account(app, &event).await;
            pruned += 1;
        }
        breathe().await;
    }
    pruned
}

async fn steps<F, Fut>(app: &App, operation: &'static str, step: F) -> u64
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, StoreError>>,
{
    let mut removed = 0;
    for _ in 0..MAX_STEPS {
        match logged(app, operation, step().await) {
            None | Some(0) => break,
            Some(rows) => removed += rows,
        }
        breathe().await;
    }
    removed
}

/// Lets others at the tables between two steps.
async fn breathe() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn logged<T>(app: &App, operation: &'static str, result: Result<T, StoreError>) -> Option<T> {
    result.map_err(|error| app.failures.log(operation, &chain(&error))).ok()
}
