//! A round of assigning: replicas take turns, each for one transaction.

use std::collections::BTreeMap;

use agentnet_proto::task::{TaskRequirements, TaskStrategy};
use sqlx::{FromRow, PgExecutor, PgPool, Postgres, Transaction, types::Json};
use time::OffsetDateTime;

use super::row::{Task, WHOLE};
use crate::StoreError;

/// Names the lock that rounds take turns by.
const TURN: i64 = 0x7461_736b_7475_726e;
/// The longest pause of a task that nobody can do, in seconds.
const MOST_PAUSE: f64 = 15.0;

/// A queued task, locked.
#[derive(Debug, Clone, FromRow)]
pub struct Candidate {
    /// The task.
    pub task_id: String,
    /// Who submitted it.
    pub submitter: String,
    requirements: Json<TaskRequirements>,
    /// What consistent hashing goes by.
    pub affinity: String,
    /// Who had it last, if that came to nothing.
    pub worker: Option<String>,
}

impl Candidate {
    /// What a worker must be.
    #[must_use]
    pub fn requirements(&self) -> &TaskRequirements {
        &self.requirements.0
    }
}

/// What the strategies go by.
#[derive(Debug, Clone, FromRow)]
pub struct WorkerFigures {
    /// The account.
    pub account_id: String,
    /// What it said it is; `None` when it never did.
    pub status: Option<String>,
    load_metrics: Option<Json<BTreeMap<String, f64>>>,
    /// Tasks assigned to it.
    pub in_hand: i64,
    /// Milliseconds that one took lately.
    pub avg_ms: Option<f64>,
    /// When it was given one last.
    pub last_assigned_at: Option<OffsetDateTime>,
    /// What it was given, by its weight.
    pub share: Option<f64>,
}

impl WorkerFigures {
    /// The load that it reported.
    pub fn load(&self) -> impl Iterator<Item = (&str, f64)> {
        self.load_metrics.iter().flat_map(|all| all.0.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// A round.
#[derive(Debug)]
pub struct Round {
    tx: Transaction<'static, Postgres>,
}

impl Round {
    /// Waits for the turn. A process that stalls in the round loses it after 5 s.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn begin(pool: &PgPool) -> Result<Self, StoreError> {
        let failed = StoreError::query("agent_tasks.turn");
        let mut tx = pool.begin().await.map_err(&failed)?;
        sqlx::query(
            "SELECT set_config('idle_in_transaction_session_timeout', '5000', true), pg_advisory_xact_lock($1)",
        )
        .bind(TURN)
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
        Ok(Self { tx })
    }

    /// The strategy in use.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn strategy(&mut self) -> Result<TaskStrategy, StoreError> {
        super::strategy(&mut *self.tx).await
    }

    /// Figures of these accounts, one for each.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn workers(&mut self, accounts: &[String]) -> Result<Vec<WorkerFigures>, StoreError> {
        worker_figures(&mut *self.tx, accounts).await
    }

    /// The tasks that are next, in the order of ADR 0009, locked.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn candidates(&mut self, limit: i64) -> Result<Vec<Candidate>, StoreError> {
        sqlx::query_as(
            "SELECT task_id, submitter, requirements, affinity, worker FROM agent_tasks \
             WHERE state = 'queued' AND NOT parked AND deadline > now() ORDER BY rank_at, task_id LIMIT $1 \
             FOR UPDATE SKIP LOCKED",
        )
        .bind(limit)
        .fetch_all(&mut *self.tx)
        .await
        .map_err(StoreError::query("agent_tasks.candidates"))
    }

    /// Assigns tasks to workers (pairs of task and account, with what it adds to the account's share), lets those of
    /// `nobody` wait for somebody to come and those of `full` a moment, and commits. The tasks with their content, each to
    /// be accepted within `accept` seconds.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn finish(
        mut self,
        assigned: &[(String, String, f64)],
        nobody: &[String],
        full: &[String],
        accept: f64,
    ) -> Result<Vec<Task>, StoreError> {
        let failed = StoreError::query("agent_tasks.assign");
        let mut tasks = Vec::new();
        if !assigned.is_empty() {
            let ids: Vec<&str> = assigned.iter().map(|(task, ..)| task.as_str()).collect();
            let workers: Vec<&str> = assigned.iter().map(|(_, worker, _)| worker.as_str()).collect();
            let shares: Vec<f64> = assigned.iter().map(|(.., share)| *share).collect();
            let mut sql = sqlx::QueryBuilder::new(
                "UPDATE agent_tasks k SET state = 'assigned', worker = a.worker, attempt = k.attempt + 1, looks = 0, \
                 assigned_at = t.now, lease = NULL, worker_session = NULL, accepted_at = NULL, progress = NULL, \
                 progress_note = NULL, lease_until = t.now + make_interval(secs => ",
            );
            sql.push_bind(accept).push(") FROM (SELECT clock_timestamp() AS now) t, unnest(").push_bind(&ids);
            sql.push("::text[], ").push_bind(&workers).push(
                "::text[]) AS a (task_id, worker) WHERE k.task_id = a.task_id AND k.state = 'queued' RETURNING ",
            );
            sql.push(WHOLE);
            tasks = sql.build_query_as().fetch_all(&mut *self.tx).await.map_err(&failed)?;
            sqlx::query(
                "INSERT INTO agent_task_workers AS w (account_id, last_assigned_at, share) \
                 SELECT worker, clock_timestamp(), sum(share) FROM unnest($1::text[], $2::float8[]) AS a (worker, share) \
                 GROUP BY worker ORDER BY worker ON CONFLICT (account_id) DO UPDATE \
                 SET last_assigned_at = excluded.last_assigned_at, share = w.share + excluded.share",
            )
            .bind(&workers)
            .bind(&shares)
            .execute(&mut *self.tx)
            .await
            .map_err(&failed)?;
        }
        if !nobody.is_empty() || !full.is_empty() {
            sqlx::query(
                "UPDATE agent_tasks SET parked = true, looks = looks + (task_id = ANY($1))::integer, \
                 next_attempt_at = now() + make_interval(secs => CASE WHEN task_id = ANY($1) \
                     THEN least($3, 0.5 * power(2, least(looks, 10))) ELSE 0.25 END) \
                 WHERE task_id = ANY($1 || $2) AND state = 'queued'",
            )
            .bind(nobody)
            .bind(full)
            .bind(MOST_PAUSE)
            .execute(&mut *self.tx)
            .await
            .map_err(&failed)?;
        }
        self.tx.commit().await.map_err(&failed)?;
        Ok(tasks)
    }
}

/// Figures of these accounts, one for each.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn worker_figures(
    db: impl PgExecutor<'_>,
    accounts: &[String],
) -> Result<Vec<WorkerFigures>, StoreError> {
    sqlx::query_as(
            "SELECT a.account_id, s.status, s.load_metrics, coalesce(h.in_hand, 0) AS in_hand, w.avg_ms, \
             w.last_assigned_at, w.share FROM unnest($1::text[]) AS a (account_id) \
             LEFT JOIN (SELECT worker, count(*) AS in_hand FROM agent_tasks WHERE state IN ('assigned', 'running') \
                 GROUP BY worker) h ON h.worker = a.account_id \
             LEFT JOIN agent_status s ON s.account_id = a.account_id \
             LEFT JOIN agent_task_workers w ON w.account_id = a.account_id",
        )
        .bind(accounts)
        .fetch_all(db)
        .await
        .map_err(StoreError::query("agent_tasks.workers"))
}
