//! The timer: what is due without anybody having come, what is overdue, and the figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentnet_store::agents;
use agentnet_store::deliveries::{self, Overdue};
use tokio::time::{Instant, sleep};

use super::Redelivery;
use crate::presence::{Owner, Route};

/// Rows that one look for recipients goes over.
const DEPTH: i64 = 5_000;
/// Rows parked or ended by one statement, and statements of one round.
const STEP: i64 = 500;
const STEPS: usize = 20;
/// Between two looks at the figures.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Most rows counted for a gauge.
const COUNT_LIMIT: i64 = 100_000;
/// Recipients asked about in one statement.
const CHUNK: usize = 1_000;

impl Redelivery {
    /// Rounds until told to stop.
    pub(super) async fn tick(self: Arc<Self>) {
        let mut figures_at: Option<Instant> = None;
        loop {
            // Replicas that started together drift apart.
            let pause = self.config.interval.mul_f64(rand::random_range(0.8..=1.2));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            if !self.may_work() {
                continue;
            }
            self.look().await;
            self.sweep().await;
            let every = FIGURES_EVERY.min(self.config.undelivered_limit / 2);
            if figures_at.is_none_or(|at| at.elapsed() >= every) {
                self.measure().await;
                figures_at = Some(Instant::now());
            }
        }
    }

    /// Starts delivering to whom something is due, and lets what is for nobody wait.
    async fn look(self: &Arc<Self>) {
        for _ in 0..STEPS {
            let due = {
                let _db = self.db().await;
                deliveries::due_recipients(self.app.store.pool(), &self.active(), DEPTH).await
            };
            let Some(due) = self.logged("db.redelivery_due", due) else { return };
            let mut absent = Vec::new();
            for recipient in due {
                // What was accepted has to be looked at one by one.
                if recipient.accepted || self.app.presence.route(&recipient.recipient) != Route::Nobody {
                    self.start_drain(recipient.recipient, false);
                } else {
                    absent.push(recipient.recipient);
                }
            }
            if absent.is_empty() || self.park_absent(absent).await < STEP as u64 {
                return;
            }
        }
    }

    async fn park_absent(&self, absent: Vec<String>) -> u64 {
        let parked = {
            let _db = self.db().await;
            deliveries::park(self.app.store.pool(), &absent, STEP).await
        };
        // Some of them are reached over HTTP.
        let marked = agents::mark_due(self.app.store.pool(), &absent).await;
        self.logged("db.webhooks_due", marked);
        // Somebody who came in between found nothing to make due.
        let came = absent.into_iter().filter(|name| self.app.presence.route(name) != Route::Nobody);
        let came: Vec<String> = came.collect();
        if !came.is_empty() {
            self.app.presence.wake(came);
        }
        self.logged("db.redelivery_park", parked).unwrap_or(0)
    }

    /// Ends what nobody took in time. What a living session is at gets more of it.
    async fn sweep(&self) {
        for _ in 0..STEPS {
            let _db = self.db().await;
            let overdue = deliveries::overdue(self.app.store.pool(), STEP).await;
            let Some((tx, rows)) = self.logged("db.redelivery_overdue", overdue) else { return };
            if rows.is_empty() {
                return;
            }
            let (busy, gone): (Vec<&Overdue>, Vec<&Overdue>) = rows.iter().partition(|row| {
                let owner =
                    row.owner_session.as_deref().map_or(Owner::Gone, |tag| self.app.presence.owner(tag));
                row.accepted && !row.long && owner != Owner::Gone
            });
            let ended = deliveries::expire(tx, &gone, &busy).await;
            let Some(ended) = self.logged("db.redelivery_expire", ended) else { return };
            self.tell(ended).await;
            if rows.len() < STEP as usize {
                return;
            }
        }
    }

    /// How long the oldest delivery has waited for somebody who is there, and how much waits at all.
    async fn measure(&self) {
        let pool = self.app.store.pool();
        let online = self.app.presence.online(self.app.now());
        let mut oldest: f64 = 0.0;
        for chunk in online.chunks(CHUNK) {
            let names: Vec<String> = chunk.iter().map(|(name, _)| name.clone()).collect();
            let _db = self.db().await;
            let Some(rows) = self.logged("db.redelivery_oldest", deliveries::oldest(pool, &names).await)
            else {
                return;
            };
            for (name, age) in rows {
                let there = chunk.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, since)| *since);
                oldest = oldest.max(age.min(there));
            }
        }
        self.counters.oldest_undelivered.store((oldest * 1000.0) as u64, Ordering::Relaxed);
        metrics::gauge!("agentnet_registry_oldest_undelivered_seconds").set(oldest);
        let _db = self.db().await;
        if let Some(waiting) =
            self.logged("db.redelivery_waiting", deliveries::waiting(pool, COUNT_LIMIT).await)
        {
            metrics::gauge!("agentnet_registry_open_deliveries").set(waiting.open as f64);
            metrics::gauge!("agentnet_registry_dead_deliveries").set(waiting.dead as f64);
            metrics::gauge!("agentnet_registry_oldest_pending_seconds")
                .set(waiting.oldest_seconds.unwrap_or(0.0));
        }
    }

    /// Whether messages get to those who are there.
    pub(crate) fn check(&self) -> Result<(), String> {
        let oldest = self.figures().oldest_undelivered;
        if oldest <= self.config.undelivered_limit {
            return Ok(());
        }
        Err(format!(
            "a message has waited {} s for a recipient that is online; see `agentnet deliveries --state pending`",
            oldest.as_secs()
        ))
    }
}
