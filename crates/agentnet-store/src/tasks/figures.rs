//! Figures, out of rows that say what happened; and the strategy.

use agentnet_proto::task::{TaskPriority, TaskStrategy};
use sqlx::{FromRow, PgExecutor};

use super::row::priority;
use crate::StoreError;

/// Rows counted by one step.
const STEP: i64 = 5_000;

/// Adds attempts that ended to their workers' figures; how many workers changed.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn fold_attempts(db: impl PgExecutor<'_>) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH picked AS (SELECT task_id, attempt FROM agent_task_attempts WHERE NOT counted ORDER BY ended_at LIMIT $1 \
             FOR UPDATE SKIP LOCKED), \
         done AS (UPDATE agent_task_attempts a SET counted = true FROM picked \
             WHERE a.task_id = picked.task_id AND a.attempt = picked.attempt \
             RETURNING a.worker, a.waited, a.outcome = 'completed' AS completed, a.ended_at - a.accepted_at AS took) \
         INSERT INTO agent_task_workers AS w (account_id, attempts, completed, waited, avg_ms) \
         SELECT worker, count(*), count(*) FILTER (WHERE completed), sum(waited), \
             avg(extract(epoch FROM took) * 1000) FILTER (WHERE completed) FROM done GROUP BY worker ORDER BY worker \
         ON CONFLICT (account_id) DO UPDATE SET attempts = w.attempts + excluded.attempts, \
             completed = w.completed + excluded.completed, waited = w.waited + excluded.waited, \
             avg_ms = coalesce(w.avg_ms * 0.7 + excluded.avg_ms * 0.3, excluded.avg_ms, w.avg_ms)",
    )
    .bind(STEP)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_task_workers.fold"))
}

/// Adds tasks that ended to the number of those; how many states changed.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn fold_ends(db: impl PgExecutor<'_>) -> Result<u64, StoreError> {
    sqlx::query(
        "WITH picked AS (SELECT task_id FROM agent_tasks WHERE finished_at IS NOT NULL AND NOT counted \
             ORDER BY finished_at LIMIT $1 FOR UPDATE SKIP LOCKED), \
         done AS (UPDATE agent_tasks k SET counted = true FROM picked WHERE k.task_id = picked.task_id RETURNING k.state) \
         INSERT INTO agent_task_ends AS e (state, ended) SELECT state, count(*) FROM done GROUP BY state ORDER BY state \
         ON CONFLICT (state) DO UPDATE SET ended = e.ended + excluded.ended",
    )
    .bind(STEP)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_task_ends.fold"))
}

/// Figures of all tasks and workers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, FromRow)]
pub struct Totals {
    /// Attempts that ended.
    pub attempts: i64,
    /// Of those, the ones that ended with the task completed.
    pub succeeded: i64,
    /// Seconds that those waited together.
    pub waited: f64,
    /// Attempts that go on.
    pub in_hand: i64,
    /// Seconds that those waited together.
    pub in_hand_waited: f64,
    /// Tasks completed.
    pub completed: i64,
    /// Tasks failed, expired or dead.
    pub failed: i64,
    /// Tasks cancelled.
    pub cancelled: i64,
}

/// Figures of all tasks and workers together, also of what isn't folded yet.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn totals(db: impl PgExecutor<'_>) -> Result<Totals, StoreError> {
    sqlx::query_as(
        "SELECT (w.attempts + u.attempts)::bigint AS attempts, (w.completed + u.completed)::bigint AS succeeded, \
         (w.waited + u.waited)::float8 AS waited, h.tasks AS in_hand, h.waited::float8 AS in_hand_waited, \
         (e.completed + n.completed)::bigint AS completed, (e.failed + n.failed)::bigint AS failed, \
         (e.cancelled + n.cancelled)::bigint AS cancelled FROM \
         (SELECT coalesce(sum(attempts), 0) AS attempts, coalesce(sum(completed), 0) AS completed, \
             coalesce(extract(epoch FROM sum(waited)), 0) AS waited FROM agent_task_workers) w, \
         (SELECT count(*) AS attempts, count(*) FILTER (WHERE outcome = 'completed') AS completed, \
             coalesce(extract(epoch FROM sum(waited)), 0) AS waited FROM agent_task_attempts WHERE NOT counted) u, \
         (SELECT count(*) AS tasks, coalesce(extract(epoch FROM sum(greatest(assigned_at - due_at, interval '0'))), 0) AS waited \
             FROM agent_tasks WHERE state IN ('assigned', 'running')) h, \
         (SELECT coalesce(sum(ended) FILTER (WHERE state = 'completed'), 0) AS completed, \
             coalesce(sum(ended) FILTER (WHERE state = 'cancelled'), 0) AS cancelled, \
             coalesce(sum(ended) FILTER (WHERE state IN ('failed', 'expired', 'dead')), 0) AS failed FROM agent_task_ends) e, \
         (SELECT count(*) FILTER (WHERE state = 'completed') AS completed, count(*) FILTER (WHERE state = 'cancelled') AS cancelled, \
             count(*) FILTER (WHERE state IN ('failed', 'expired', 'dead')) AS failed \
             FROM agent_tasks WHERE finished_at IS NOT NULL AND NOT counted) n",
    )
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_tasks.totals"))
}

/// The tasks of one priority that haven't ended.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct QueueSize {
    priority: i16,
    /// How many wait.
    pub queued: i64,
    /// How many of those found nobody who could do them.
    pub waiting_for_agent: i64,
    /// How many of those wait for another attempt.
    pub waiting_for_retry: i64,
    /// Seconds that the oldest has waited.
    pub oldest_seconds: Option<f64>,
    /// How many are on their way.
    pub assigned: i64,
    /// How many are being done.
    pub running: i64,
}

impl QueueSize {
    /// Which priority.
    #[must_use]
    pub fn priority(&self) -> TaskPriority {
        priority(self.priority)
    }
}

/// One for each priority that has tasks which haven't ended; no more than `limit` tasks are counted.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn queues(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<QueueSize>, StoreError> {
    sqlx::query_as(
        "SELECT priority, count(*) FILTER (WHERE state = 'queued') AS queued, \
         count(*) FILTER (WHERE state = 'queued' AND parked AND looks > 0) AS waiting_for_agent, \
         count(*) FILTER (WHERE state = 'queued' AND parked AND looks = 0 AND attempt > 0) AS waiting_for_retry, \
         extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'queued'))::float8 AS oldest_seconds, \
         count(*) FILTER (WHERE state = 'assigned') AS assigned, count(*) FILTER (WHERE state = 'running') AS running \
         FROM (SELECT priority, state, parked, looks, attempt, created_at FROM agent_tasks \
             WHERE state IN ('queued', 'assigned', 'running') LIMIT $1) AS open GROUP BY priority ORDER BY priority",
    )
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_tasks.queues"))
}

/// One worker's figures.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Figures {
    /// The account.
    pub account_id: String,
    /// Tasks assigned to it.
    pub in_hand: i64,
    /// Attempts of it that ended.
    pub attempts: i64,
    /// Of those, the ones that ended with the task completed.
    pub completed: i64,
    /// Milliseconds that one took lately.
    pub avg_ms: Option<f64>,
}

impl Figures {
    /// Those of picked accounts, one for each.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::Unavailable`].
    pub async fn of(db: impl PgExecutor<'_>, accounts: &[String]) -> Result<Vec<Self>, StoreError> {
        sqlx::query_as(
            "SELECT a.account_id, coalesce(h.tasks, 0) AS in_hand, coalesce(w.attempts, 0) + coalesce(u.attempts, 0) AS attempts, \
             coalesce(w.completed, 0) + coalesce(u.completed, 0) AS completed, w.avg_ms \
             FROM unnest($1::text[]) AS a (account_id) LEFT JOIN agent_task_workers w ON w.account_id = a.account_id \
             LEFT JOIN (SELECT worker, count(*) AS tasks FROM agent_tasks WHERE state IN ('assigned', 'running') \
                 GROUP BY worker) h ON h.worker = a.account_id \
             LEFT JOIN (SELECT worker, count(*) AS attempts, count(*) FILTER (WHERE outcome = 'completed') AS completed \
                 FROM agent_task_attempts WHERE NOT counted GROUP BY worker) u ON u.worker = a.account_id",
        )
        .bind(accounts)
        .fetch_all(db)
        .await
        .map_err(StoreError::query("agent_task_workers.of"))
    }
}

/// The strategy in use.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn strategy(db: impl PgExecutor<'_>) -> Result<TaskStrategy, StoreError> {
    let set: Option<String> = sqlx::query_scalar("SELECT strategy FROM agent_task_settings")
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_task_settings.strategy"))?;
    // One that a newer version set is no reason to stop.
    Ok(set.and_then(|text| TaskStrategy::parse(&text).ok()).unwrap_or_default())
}

/// Uses another strategy from now on, on all replicas.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set_strategy(
    db: impl PgExecutor<'_>,
    strategy: TaskStrategy,
    by: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_task_settings (strategy, changed_at, changed_by) VALUES ($1, now(), $2) \
         ON CONFLICT (only_one) DO UPDATE SET strategy = excluded.strategy, changed_at = excluded.changed_at, \
         changed_by = excluded.changed_by",
    )
    .bind(strategy.as_str())
    .bind(by)
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_task_settings.set"))
}
