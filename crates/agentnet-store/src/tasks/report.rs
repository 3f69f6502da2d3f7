//! What workers say: each word is believed only from the account that has the task, and with its lease.

use agentnet_proto::ErrorCode;
use agentnet_proto::task::TaskState;
use sqlx::{PgConnection, PgExecutor};

use super::row::{BRIEF, Task, WHOLE};
use crate::StoreError;

/// Who says something about which task.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The account that says it.
    pub worker: &'a str,
    /// What it shows.
    pub lease: &'a str,
}

/// Why a word of a worker doesn't count.
#[derive(Debug)]
pub enum Refusal {
    /// The task is in the state that the word asks for, by the same lease.
    Already(Box<Task>),
    /// It doesn't count.
    No(ErrorCode),
}

/// A worker begins; `None` when the task isn't on its way to it. `lease` is what it will have to show, `seconds` how
/// long it may be silent.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn accept(
    db: impl PgExecutor<'_>,
    report: Report<'_>,
    attempt: Option<i32>,
    session: Option<&str>,
    seconds: f64,
) -> Result<Option<Task>, StoreError> {
    let mut sql =
        sqlx::QueryBuilder::new("UPDATE agent_tasks k SET state = 'running', accepted_at = t.now, lease = ");
    sql.push_bind(report.lease).push(", worker_session = ").push_bind(session);
    sql.push(", lease_until = t.now + make_interval(secs => ").push_bind(seconds);
    sql.push(") FROM (SELECT clock_timestamp() AS now) t WHERE k.task_id = ").push_bind(report.task_id);
    sql.push(" AND k.worker = ").push_bind(report.worker);
    sql.push(" AND k.state = 'assigned' AND k.deadline > t.now");
    if let Some(attempt) = attempt {
        sql.push(" AND k.attempt = ").push_bind(attempt);
    }
    sql.push(" RETURNING ").push(WHOLE);
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_tasks.accept"))
}

/// A worker is still at it, and how far it is, if it says so; `None` when it isn't its task any more.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn hear(
    db: impl PgExecutor<'_>,
    report: Report<'_>,
    progress: Option<f64>,
    note: Option<&str>,
    seconds: f64,
) -> Result<Option<Task>, StoreError> {
    let mut sql =
        sqlx::QueryBuilder::new("UPDATE agent_tasks k SET lease_until = t.now + make_interval(secs => ");
    sql.push_bind(seconds).push("), progress = coalesce(").push_bind(progress);
    sql.push(", k.progress), progress_note = coalesce(").push_bind(note);
    sql.push(", k.progress_note) FROM (SELECT clock_timestamp() AS now) t WHERE k.state = 'running' AND k.task_id = ");
    sql.push_bind(report.task_id).push(" AND k.worker = ").push_bind(report.worker);
    sql.push(" AND k.lease = ").push_bind(report.lease).push(" RETURNING ").push(BRIEF);
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_tasks.hear"))
}

/// A worker has done it; `None` when it isn't its task any more.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn complete(
    db: impl PgExecutor<'_>,
    report: Report<'_>,
    result: &str,
) -> Result<Option<Task>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(
        "WITH k AS (UPDATE agent_tasks k SET state = 'completed', progress = 1, code = NULL, detail = NULL, \
         lease_until = NULL, finished_at = t.now, result = ",
    );
    sql.push_bind(result);
    sql.push(" FROM (SELECT clock_timestamp() AS now) t WHERE k.state = 'running' AND k.task_id = ");
    sql.push_bind(report.task_id).push(" AND k.worker = ").push_bind(report.worker);
    sql.push(" AND k.lease = ").push_bind(report.lease);
    sql.push(
        " RETURNING k.*), noted AS (INSERT INTO agent_task_attempts (task_id, attempt, worker, session, assigned_at, \
         waited, accepted_at, ended_at, outcome, state) SELECT task_id, attempt, worker, worker_session, assigned_at, \
         greatest(assigned_at - due_at, interval '0'), accepted_at, finished_at, 'completed', state FROM k) SELECT ",
    );
    sql.push(BRIEF).push(" FROM k");
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_tasks.complete"))
}

/// Why a word of a worker didn't count. `wanted` is the state that it would have led to. What isn't the account's looks
/// alike, whether it exists or not, unless the account had it once.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn why_not(
    db: &mut PgConnection,
    report: Report<'_>,
    wanted: TaskState,
) -> Result<Refusal, StoreError> {
    let Some(task) = super::by_id(&mut *db, report.task_id).await? else {
        return Ok(Refusal::No(ErrorCode::TaskNotAssigned));
    };
    let state = task.state();
    if task.worker.as_deref() == Some(report.worker) {
        return Ok(if task.lease.as_deref() == Some(report.lease) && state == wanted {
            Refusal::Already(Box::new(task))
        } else if state.is_end() {
            Refusal::No(ErrorCode::TaskOver)
        } else {
            Refusal::No(ErrorCode::TaskLeaseLost)
        });
    }
    let had: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agent_task_attempts WHERE task_id = $1 AND worker = $2)",
    )
    .bind(report.task_id)
    .bind(report.worker)
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_task_attempts.had"))?;
    Ok(Refusal::No(match (had, state.is_end()) {
        (false, _) => ErrorCode::TaskNotAssigned,
        (true, true) => ErrorCode::TaskOver,
        (true, false) => ErrorCode::TaskLeaseLost,
    }))
}
