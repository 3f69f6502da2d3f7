//! Storing a task, once.

use agentnet_proto::task::{TaskPriority, TaskRequirements};
use sqlx::{PgConnection, PgExecutor, types::Json};

use super::row::{BRIEF, Task, rank};
use crate::StoreError;

/// A task that somebody submits.
#[derive(Debug, Clone)]
pub struct NewTask<'a> {
    /// Its id.
    pub task_id: &'a str,
    /// Who submits it.
    pub submitter: &'a str,
    /// Under which key it is one with others of the submitter.
    pub idempotency_key: Option<&'a str>,
    /// Of everything the submitter said.
    pub request_sha256: &'a [u8],
    /// What kind of work it is.
    pub task_type: Option<&'a str>,
    /// JSON text.
    pub task_data: &'a str,
    /// How soon.
    pub priority: TaskPriority,
    /// What a worker must be.
    pub requirements: &'a TaskRequirements,
    /// What consistent hashing goes by.
    pub affinity: &'a str,
    /// How long it lives from now, in milliseconds.
    pub life_ms: i64,
    /// How often it is tried.
    pub max_attempts: i32,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// It is stored.
    New(Box<Task>),
    /// The same submission was stored before; this is the task.
    Before(Box<Task>),
    /// Another task has the id.
    IdTaken,
    /// The submitter used the key for another task.
    KeyReused,
}

/// Stores a task, unless it is stored already.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn submit(db: &mut PgConnection, new: &NewTask<'_>) -> Result<Submitted, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(
        "INSERT INTO agent_tasks AS k (task_id, submitter, idempotency_key, request_sha256, task_type, task_data, \
         priority, requirements, affinity, state, created_at, rank_at, due_at, next_attempt_at, deadline, max_attempts) \
         SELECT ",
    );
    let mut values = sql.separated(", ");
    values.push_bind(new.task_id);
    values.push_bind(new.submitter);
    values.push_bind(new.idempotency_key);
    values.push_bind(new.request_sha256);
    values.push_bind(new.task_type);
    values.push_bind(new.task_data);
    values.push_bind(rank(new.priority));
    values.push_bind(Json(new.requirements));
    values.push_bind(new.affinity);
    values.push("'queued', t.now, greatest(t.now - make_interval(secs => ");
    values.push_bind_unseparated(new.priority.head_start().as_secs_f64());
    // Behind what the submitter has in that queue already.
    values.push_unseparated(
        "), (SELECT max(q.rank_at) + interval '1 s' FROM agent_tasks q WHERE q.state = 'queued' AND q.submitter = ",
    );
    values.push_bind_unseparated(new.submitter);
    values.push_unseparated(" AND q.priority = ");
    values.push_bind_unseparated(rank(new.priority));
    values.push_unseparated(")), t.now, t.now, t.now + make_interval(secs => ");
    values.push_bind_unseparated(new.life_ms as f64 / 1000.0);
    values.push_unseparated(")");
    values.push_bind(new.max_attempts);
    sql.push(" FROM (SELECT clock_timestamp() AS now) t ON CONFLICT DO NOTHING RETURNING ").push(BRIEF);
    let stored: Option<Task> = sql
        .build_query_as()
        .fetch_optional(&mut *db)
        .await
        .map_err(StoreError::query("agent_tasks.submit"))?;
    if let Some(task) = stored {
        return Ok(Submitted::New(Box::new(task)));
    }
    existing(db, new).await
}

#[derive(sqlx::FromRow)]
struct Existing {
    #[sqlx(flatten)]
    task: Task,
    request_sha256: Vec<u8>,
}

/// What stands in the way of a new task.
async fn existing(db: &mut PgConnection, new: &NewTask<'_>) -> Result<Submitted, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT k.request_sha256, ");
    sql.push(BRIEF).push(" FROM agent_tasks k WHERE k.task_id = ").push_bind(new.task_id);
    sql.push(" OR (k.submitter = ").push_bind(new.submitter);
    sql.push(" AND k.idempotency_key = ").push_bind(new.idempotency_key).push(") LIMIT 2");
    let found: Vec<Existing> =
        sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_tasks.existing"))?;
    let by_key = |one: &Existing| one.task.submitter == new.submitter && one.task.task_id != new.task_id;
    let same =
        |one: &Existing| one.task.submitter == new.submitter && one.request_sha256 == new.request_sha256;
    if let Some(place) = found.iter().position(same) {
        let task = found.into_iter().nth(place).map(|one| one.task);
        return Ok(task.map_or(Submitted::IdTaken, |task| Submitted::Before(Box::new(task))));
    }
    Ok(if found.iter().any(by_key) { Submitted::KeyReused } else { Submitted::IdTaken })
}

/// How many open tasks each submitter has that has at least `least`; no more than `limit` rows are looked at.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn open_by_submitter(
    db: impl PgExecutor<'_>,
    least: i64,
    limit: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    sqlx::query_as(
        "SELECT submitter, count(*) FROM (SELECT submitter FROM agent_tasks WHERE state IN ('queued', 'assigned', 'running') \
         LIMIT $2) AS open GROUP BY submitter HAVING count(*) >= $1",
    )
    .bind(least)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_tasks.open_by_submitter"))
}
