//! Rounds of assigning: who waits, who is there, one statement, and the messages after the commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentnet_proto::task::{TaskChange, TaskState};
use agentnet_store::tasks::{self, Round, Task};
use tokio::time::sleep;

use super::eligible::{self, Worker, eligible};
use super::strategy::{Choice, choose};
use super::{Engine, tell};

/// Tasks assigned by one round.
const MOST: i64 = 256;
/// Parked tasks woken at once.
const WOKEN: i64 = 1_000;
/// Those who come at the same time wake the queue once.
const COMERS_PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Rounds until told to stop.
    pub(super) async fn assign(self: Arc<Self>) {
        loop {
            // Replicas that started together drift apart.
            let pause = self.config.interval.mul_f64(rand::random_range(0.8..=1.2));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.app.tasks.woken.notified() => {}
                () = sleep(pause) => {}
            }
            while self.may_work() && self.round().await {}
        }
    }

    /// Somebody came or changed: what waited for them is looked at at once.
    pub(super) async fn follow_workers(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.app.presence.workers.notified() => {}
            }
            sleep(COMERS_PAUSE).await;
            self.wake_parked().await;
        }
    }

    /// Has everything looked at that waited for somebody.
    async fn wake_parked(&self) {
        let woken = tasks::unpark(self.app.store.pool(), true, WOKEN).await;
        self.logged("db.task_unpark", woken);
        self.app.tasks.woken.notify_one();
    }

    /// One round; whether another one may find more at once.
    async fn round(&self) -> bool {
        let offers = eligible::offers(&self.app);
        if offers.is_empty() {
            return false;
        }
        let started = Instant::now();
        let done = self.try_round(offers).await;
        let Some((assigned, more)) = self.logged("db.task_assign", done) else { return false };
        if assigned.is_empty() {
            return false;
        }
        metrics::histogram!("agentnet_registry_task_round_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("agentnet_registry_tasks_assigned_total").increment(assigned.len() as u64);
        for task in assigned {
            self.sender.deliver(&self.app, &task).await;
            tell::tell(&self.app, &task, TaskChange::from(TaskState::Assigned)).await;
        }
        more
    }

    async fn try_round(
        &self,
        offers: eligible::Offers,
    ) -> Result<(Vec<Task>, bool), agentnet_store::StoreError> {
        let mut round = Round::begin(self.app.store.pool()).await?;
        let accounts: Vec<String> = offers.keys().cloned().collect();
        let figures = round.workers(&accounts).await?;
        let mut workers = eligible(offers, figures);
        let accept = self.config.accept.as_secs_f64();
        if !workers.iter().any(Worker::has_room) {
            return round.finish(&[], &[], &[], accept).await.map(|none| (none, false));
        }
        let strategy = round.strategy().await?;
        let candidates = round.candidates(MOST).await?;
        let (mut assigned, mut nobody, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for candidate in &candidates {
            let fitting = |worker: &&mut Worker| worker.fits(candidate.requirements());
            let mut fitting: Vec<&mut Worker> = workers.iter_mut().filter(fitting).collect();
            if fitting.is_empty() {
                nobody.push(candidate.task_id.clone());
                continue;
            }
            // Not whoever had it last, unless there is nobody else.
            if let (Some(last), true) = (&candidate.worker, fitting.len() > 1) {
                fitting.retain(|worker| worker.choice.account != *last);
            }
            fitting.retain(|worker| worker.has_room());
            let choices: Vec<&Choice> = fitting.iter().map(|worker| &worker.choice).collect();
            let random = |below: usize| rand::random_range(0..below);
            let Some(place) = choose(strategy, &choices, &candidate.affinity, random) else {
                full.push(candidate.task_id.clone());
                continue;
            };
            let Some(worker) = fitting.into_iter().nth(place) else { continue };
            let share = 1.0 / worker.choice.weight;
            assigned.push((candidate.task_id.clone(), worker.choice.account.clone(), share));
            worker.choice.in_hand += 1;
            worker.choice.share += share;
            // Later than whatever a clock says: in the order of this round.
            let order = i64::try_from(assigned.len()).unwrap_or_default();
            worker.choice.last_assigned = i64::MAX / 2 + order;
        }
        // Those for whom nobody has room stand still, unless others behind them could be served.
        let still_free = workers.iter().any(Worker::has_room);
        if !still_free || full.len() < candidates.len() {
            full.clear();
        }
        let more =
            still_free && candidates.len() as i64 >= MOST && (!assigned.is_empty() || !nobody.is_empty());
        Ok((round.finish(&assigned, &nobody, &full, accept).await?, more))
    }
}
