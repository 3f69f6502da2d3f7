//! What has run out or was lost, and the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentnet_proto::ErrorCode;
use agentnet_store::StoreError;
use agentnet_store::tasks::{self, Ending, Overdue, Target};
use tokio::time::sleep;

use super::{Engine, tell};
use crate::presence::{Owner, Route};

/// Rows of one step, and steps of one round.
const STEP: i64 = 500;
const STEPS: usize = 20;
/// Between two looks at who is gone and at the figures.
const SLOW: Duration = Duration::from_secs(1);
/// Between two counts of what each submitter has.
const COUNTS: Duration = Duration::from_secs(5);
/// Open tasks looked at for figures.
const MOST_COUNTED: i64 = 100_000;
/// Submitters with fewer open tasks aren't remembered.
const FEW: i64 = 100;
/// News of a worker's session may take so long to get here, in seconds.
const NEWS: f64 = 3.0;

impl Engine {
    /// Rounds until told to stop.
    pub(super) async fn sweep(self: Arc<Self>) {
        let (mut slow_at, mut counts_at): (Option<Instant>, Option<Instant>) = (None, None);
        let due = |at: &mut Option<Instant>, every: Duration| {
            let due = at.is_none_or(|at| at.elapsed() >= every);
            if due {
                *at = Some(Instant::now());
            }
            due
        };
        loop {
            let pause = self.config.interval.mul_f64(rand::random_range(0.8..=1.2));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            let db = self.app.store.pool();
            let woken = self.logged("db.task_unpark", tasks::unpark(db, false, STEP).await).unwrap_or(0);
            let slow = due(&mut slow_at, SLOW.min(self.config.interval * 4));
            let gone = if slow { self.gone().await } else { Gone::default() };
            let ended = self.end_overdue(&gone).await;
            if woken + ended > 0 {
                self.app.tasks.woken.notify_one();
            }
            if slow {
                self.logged("db.task_fold", tasks::fold_attempts(db).await);
                self.logged("db.task_fold", tasks::fold_ends(db).await);
                self.logged("db.task_key", self.sender.renew(&self.app).await);
            }
            if due(&mut counts_at, COUNTS) {
                self.measure().await;
            }
        }
    }

    /// Sessions and workers that are known to be gone and have something in hand. Nobody is, while nobody can be heard.
    async fn gone(&self) -> Gone {
        let mut gone = Gone::default();
        if !self.may_work() {
            return gone;
        }
        let may_judge = self.app.presence.may_judge();
        let in_hand = tasks::workers_in_hand(self.app.store.pool(), MOST_COUNTED).await;
        for (worker, session, age) in self.logged("db.task_workers", in_hand).unwrap_or_default() {
            match session {
                Some(session) if age >= NEWS && self.app.presence.owner(&session) == Owner::Gone => {
                    gone.sessions.push(session);
                }
                None if may_judge && age >= NEWS && self.app.presence.route(&worker) == Route::Nobody => {
                    gone.workers.push(worker);
                }
                _ => {}
            }
        }
        gone
    }

    /// Ends what is overdue; how many.
    async fn end_overdue(&self, gone: &Gone) -> u64 {
        let mut all = 0;
        for _ in 0..STEPS {
            let Some((ended, more)) = self.logged("db.task_overdue", self.end_step(gone).await) else {
                break;
            };
            all += ended;
            if !more {
                break;
            }
        }
        all
    }

    async fn end_step(&self, gone: &Gone) -> Result<(u64, bool), StoreError> {
        let failed = StoreError::query("agent_tasks.sweep");
        let mut tx = self.app.store.pool().begin().await.map_err(&failed)?;
        let rows = tasks::overdue(&mut tx, &gone.sessions, &gone.workers, STEP).await?;
        if rows.is_empty() {
            return Ok((0, false));
        }
        let endings: Vec<Ending> = rows.iter().map(ending).collect();
        let changed = tasks::end(&mut tx, &endings, self.config.retry.as_secs_f64()).await?;
        tx.commit().await.map_err(&failed)?;
        for one in &changed {
            tell::announce(&self.app, one).await;
        }
        Ok((changed.len() as u64, rows.len() as i64 >= STEP))
    }

    async fn measure(&self) {
        let db = self.app.store.pool();
        if let Some(queues) = self.logged("db.task_queues", tasks::queues(db, MOST_COUNTED).await) {
            for priority in agentnet_proto::task::TaskPriority::ALL {
                let queue = queues.iter().find(|queue| queue.priority() == *priority);
                let gauge = |name: &'static str, value: f64| {
                    metrics::gauge!(name, "priority" => priority.as_str()).set(value);
                };
                gauge("agentnet_registry_tasks_queued", queue.map_or(0.0, |q| q.queued as f64));
                gauge("agentnet_registry_tasks_running", queue.map_or(0.0, |q| q.running as f64));
                let oldest = queue.and_then(|q| q.oldest_seconds).unwrap_or(0.0);
                gauge("agentnet_registry_tasks_oldest_seconds", oldest);
            }
        }
        let most = self.config.per_submitter.saturating_mul(4).max(MOST_COUNTED);
        let counts = tasks::open_by_submitter(db, FEW.min(self.config.per_submitter), most).await;
        if let Some(counts) = self.logged("db.task_counts", counts) {
            self.app.tasks.counted(counts);
        }
    }
}

/// Who is gone.
#[derive(Debug, Default)]
struct Gone {
    sessions: Vec<String>,
    workers: Vec<String>,
}

fn ending(row: &Overdue) -> Ending {
    let (target, code) = match row {
        Overdue { expired: true, .. } => (Target::Expired, ErrorCode::Expired),
        Overdue { lapsed: true, running: true, .. } => (Target::Retry, ErrorCode::LeaseLapsed),
        Overdue { lapsed: true, running: false, .. } => (Target::Retry, ErrorCode::NotAccepted),
        Overdue { lapsed: false, .. } => (Target::Retry, ErrorCode::WorkerLost),
    };
    let detail = match code {
        ErrorCode::Expired => "The task's deadline has passed.",
        code => code.meaning().trim(),
    };
    Ending {
        task_id: row.task_id.clone(),
        attempt: row.attempt,
        target,
        code: code.as_str().to_owned(),
        detail: Some(detail.to_owned()),
    }
}
