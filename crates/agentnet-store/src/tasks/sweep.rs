//! What has run out: leases, deadlines, pauses, and what is kept.

use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgExecutor};

use super::end::{Changed, Ending, Target, end};
use super::row::rank;
use crate::StoreError;
use agentnet_proto::ErrorCode;
use agentnet_proto::task::TaskPriority;

/// A task that has to be looked at, locked.
#[derive(Debug, Clone, FromRow)]
pub struct Overdue {
    /// The task.
    pub task_id: String,
    /// Which assignment.
    pub attempt: i32,
    /// Whether a worker had begun.
    pub running: bool,
    /// Whether its deadline has passed.
    pub expired: bool,
    /// Whether the lease has lapsed; else its worker is gone.
    pub lapsed: bool,
}

/// Tasks whose deadline or lease has passed, or whose session or worker is among those that are gone; locked, at most
/// `limit`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn overdue(
    tx: &mut PgConnection,
    gone_sessions: &[String],
    absent_workers: &[String],
    limit: i64,
) -> Result<Vec<Overdue>, StoreError> {
    let columns = "k.task_id, k.attempt, k.state = 'running' AS running, k.deadline <= t.now AS expired, \
         coalesce(k.lease_until <= t.now, false) AS lapsed";
    let mut found: Vec<Overdue> = Vec::new();
    for (what, condition) in [
        ("agent_tasks.past_deadline", "k.state IN ('queued', 'assigned', 'running') AND k.deadline <= t.now"),
        ("agent_tasks.lapsed", "k.state IN ('assigned', 'running') AND k.lease_until <= t.now"),
    ] {
        // The time stands still for the plan, so that the index serves it.
        let text = format!(
            "SELECT {columns} FROM agent_tasks k, (SELECT now() AS now) t WHERE {} LIMIT $1 FOR UPDATE OF k SKIP LOCKED",
            condition.replace("t.now", "now()")
        );
        let rows: Vec<Overdue> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(limit)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::query(what))?;
        found.extend(rows);
    }
    if !gone_sessions.is_empty() || !absent_workers.is_empty() {
        let text = format!(
            "SELECT {columns} FROM agent_tasks k, (SELECT now() AS now) t WHERE k.state IN ('assigned', 'running') \
             AND ((k.state = 'running' AND k.worker_session = ANY($2)) OR (k.state = 'assigned' AND k.worker = ANY($3))) \
             LIMIT $1 FOR UPDATE OF k SKIP LOCKED"
        );
        let rows: Vec<Overdue> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(limit)
            .bind(gone_sessions)
            .bind(absent_workers)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::query("agent_tasks.lost"))?;
        found.extend(rows);
    }
    found.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
    found.dedup_by(|a, b| a.task_id == b.task_id);
    Ok(found)
}

/// Workers and sessions that have tasks in hand: the worker, the session of one that has begun, and the age of the
/// assignment in seconds.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn workers_in_hand(
    db: impl PgExecutor<'_>,
    limit: i64,
) -> Result<Vec<(String, Option<String>, f64)>, StoreError> {
    sqlx::query_as(
        "SELECT worker, CASE WHEN state = 'running' THEN worker_session END AS session, \
         extract(epoch FROM max(now() - assigned_at))::float8 FROM (SELECT * FROM agent_tasks \
         WHERE state IN ('assigned', 'running') LIMIT $1) AS in_hand GROUP BY 1, 2",
    )
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_tasks.workers_in_hand"))
}

/// Lets tasks be looked at again whose pause is over; `woken`: also those that waited for somebody to come. How many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn unpark(db: impl PgExecutor<'_>, woken: bool, limit: i64) -> Result<u64, StoreError> {
    let text = if woken {
        "UPDATE agent_tasks SET parked = false WHERE task_id IN (SELECT task_id FROM agent_tasks WHERE state = 'queued' AND parked \
         AND (looks > 0 OR next_attempt_at <= now()) ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    } else {
        "UPDATE agent_tasks SET parked = false WHERE task_id IN (SELECT task_id FROM agent_tasks WHERE state = 'queued' AND parked \
         AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    };
    sqlx::query(text)
        .bind(limit)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
        .map_err(StoreError::query("agent_tasks.unpark"))
}

/// Calls off what waits in a queue, at most `limit`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn clear_queue(
    tx: &mut PgConnection,
    priority: TaskPriority,
    detail: &str,
    limit: i64,
) -> Result<Vec<Changed>, StoreError> {
    let rows: Vec<(String, i32)> = sqlx::query_as(
        "SELECT task_id, attempt FROM agent_tasks WHERE state = 'queued' AND priority = $1 ORDER BY created_at LIMIT $2 \
         FOR UPDATE SKIP LOCKED",
    )
    .bind(rank(priority))
    .bind(limit)
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::query("agent_tasks.clear_queue"))?;
    let ending = |(task_id, attempt)| Ending {
        task_id,
        attempt,
        target: Target::Cancelled,
        code: ErrorCode::Cancelled.as_str().to_owned(),
        detail: Some(detail.to_owned()),
    };
    let endings: Vec<Ending> = rows.into_iter().map(ending).collect();
    end(tx, &endings, 1.0).await
}

/// Removes tasks that ended longer ago than `kept`, and are in the figures; one step.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget(db: impl PgExecutor<'_>, kept: Duration) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_tasks WHERE task_id IN (SELECT task_id FROM agent_tasks k WHERE finished_at < now() - make_interval(secs => $1) \
         AND counted AND NOT EXISTS (SELECT FROM agent_task_attempts a WHERE a.task_id = k.task_id AND NOT a.counted) \
         ORDER BY finished_at LIMIT 500 FOR UPDATE SKIP LOCKED)",
    )
    .bind(kept.as_secs_f64())
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_tasks.forget"))
}
