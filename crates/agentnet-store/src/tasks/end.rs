//! Ending attempts and tasks otherwise than by completion: one statement for all of it.

use agentnet_proto::task::TaskState;
use sqlx::{FromRow, PgConnection};

use super::row::{BRIEF, Task, WHOLE, state};
use crate::StoreError;

/// The longest pause before another attempt, in seconds.
const MOST_PAUSE: f64 = 60.0;

/// Where a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Back into the queue; to its death if that was the last attempt that counts. One that wasn't begun doesn't.
    Retry,
    /// It can't be done.
    Failed,
    /// Called off.
    Cancelled,
    /// Its time is over.
    Expired,
}

impl Target {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "queued",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// A task that ends, or whose attempt does.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The task.
    pub task_id: String,
    /// The assignment that this is about: a later one isn't touched.
    pub attempt: i32,
    /// Where it goes.
    pub target: Target,
    /// Why.
    pub code: String,
    /// The same for people.
    pub detail: Option<String>,
}

/// A task that changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// As it is now.
    pub task: Task,
    /// Where it was.
    pub was: TaskState,
}

#[derive(FromRow)]
struct Columns {
    #[sqlx(flatten)]
    task: Task,
    was: String,
}

/// One task with its content, locked until the transaction ends.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn lock(tx: &mut PgConnection, task_id: &str) -> Result<Option<Task>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(WHOLE).push(" FROM agent_tasks k WHERE k.task_id = ").push_bind(task_id).push(" FOR UPDATE");
    sql.build_query_as().fetch_optional(tx).await.map_err(StoreError::query("agent_tasks.lock"))
}

/// Carries the endings out, each if its task is still in that assignment and hasn't ended. The pause before another attempt
/// starts with `pause` seconds, and doubles with each attempt that came to nothing.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end(db: &mut PgConnection, endings: &[Ending], pause: f64) -> Result<Vec<Changed>, StoreError> {
    if endings.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = endings.iter().map(|e| e.task_id.as_str()).collect();
    let attempts: Vec<i32> = endings.iter().map(|e| e.attempt).collect();
    let targets: Vec<&str> = endings.iter().map(|e| e.target.as_str()).collect();
    let codes: Vec<&str> = endings.iter().map(|e| e.code.as_str()).collect();
    let details: Vec<Option<&str>> = endings.iter().map(|e| e.detail.as_deref()).collect();
    let mut sql = sqlx::QueryBuilder::new(
        "WITH t AS (SELECT clock_timestamp() AS now), o AS ( \
             SELECT k.task_id, k.state, k.attempt, k.worker, k.worker_session, k.assigned_at, k.accepted_at, k.due_at, \
                 w.code, w.detail, CASE WHEN w.target <> 'queued' THEN w.target \
                     WHEN k.state = 'running' AND k.attempts_failed + 1 >= k.max_attempts THEN 'dead' ELSE 'queued' END AS target \
             FROM agent_tasks k JOIN unnest(",
    );
    sql.push_bind(ids).push("::text[], ").push_bind(attempts).push("::integer[], ").push_bind(targets);
    sql.push("::text[], ").push_bind(codes).push("::text[], ").push_bind(details);
    sql.push(
        "::text[]) AS w (task_id, attempt, target, code, detail) ON w.task_id = k.task_id AND w.attempt = k.attempt \
             WHERE k.state IN ('queued', 'assigned', 'running') AND (k.state <> 'queued' OR w.target <> 'queued') \
             ORDER BY k.task_id FOR UPDATE OF k), \
         n AS (UPDATE agent_tasks k SET state = o.target, code = o.code, detail = o.detail, lease_until = NULL, \
             lease = CASE WHEN o.target = 'queued' THEN NULL ELSE k.lease END, \
             attempts_failed = k.attempts_failed + (o.state = 'running' AND o.target IN ('queued', 'dead', 'failed'))::integer, \
             parked = o.target = 'queued', looks = 0, \
             next_attempt_at = p.at, due_at = CASE WHEN o.target = 'queued' THEN p.at ELSE k.due_at END, \
             finished_at = CASE WHEN o.target = 'queued' THEN NULL ELSE t.now END \
             FROM t, o, LATERAL (SELECT t.now + make_interval(secs => least(",
    );
    sql.push_bind(MOST_PAUSE).push("::float8, ").push_bind(pause);
    sql.push(
        "::float8 * power(2, least(o.attempt - 1, 10)))) AS at) p \
             WHERE k.task_id = o.task_id AND k.state = o.state AND k.attempt = o.attempt RETURNING k.*, o.state AS was), \
         noted AS (INSERT INTO agent_task_attempts (task_id, attempt, worker, session, assigned_at, waited, accepted_at, \
                 ended_at, outcome, detail, state) \
             SELECT o.task_id, o.attempt, o.worker, o.worker_session, o.assigned_at, \
                 greatest(o.assigned_at - o.due_at, interval '0'), o.accepted_at, t.now, o.code, o.detail, o.target \
             FROM o JOIN n USING (task_id), t WHERE o.state IN ('assigned', 'running') ON CONFLICT DO NOTHING) \
         SELECT k.was, ",
    );
    sql.push(BRIEF).push(" FROM n k");
    let rows: Vec<Columns> =
        sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_tasks.end"))?;
    Ok(rows.into_iter().map(|row| Changed { was: state(&row.was), task: row.task }).collect())
}
