//! Reading tasks.

use agentnet_proto::Timestamp;
use agentnet_proto::task::{TaskPriority, TaskState};
use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;

use super::row::{BRIEF, Task, WHOLE, rank};
use crate::StoreError;

/// One task with its content.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_id(db: impl PgExecutor<'_>, task_id: &str) -> Result<Option<Task>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(WHOLE).push(" FROM agent_tasks k WHERE k.task_id = ").push_bind(task_id);
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_tasks.by_id"))
}

/// An attempt that ended.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "columns of agent_task_attempts, told in its migration")]
pub struct AttemptRow {
    pub attempt: i32,
    pub worker: String,
    pub session: Option<String>,
    pub assigned_at: OffsetDateTime,
    pub accepted_at: Option<OffsetDateTime>,
    pub ended_at: OffsetDateTime,
    pub outcome: String,
    pub detail: Option<String>,
}

/// The latest attempts of a task that ended, in order.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn attempts(
    db: impl PgExecutor<'_>,
    task_id: &str,
    limit: i64,
) -> Result<Vec<AttemptRow>, StoreError> {
    sqlx::query_as(
        "SELECT * FROM (SELECT attempt, worker, session, assigned_at, accepted_at, ended_at, outcome, detail \
         FROM agent_task_attempts WHERE task_id = $1 ORDER BY attempt DESC LIMIT $2) AS latest ORDER BY attempt",
    )
    .bind(task_id)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_task_attempts.of"))
}

/// Which tasks. Everything that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Submitted by.
    pub submitter: Option<&'a str>,
    /// Assigned to, now or last.
    pub worker: Option<&'a str>,
    /// In this state.
    pub state: Option<TaskState>,
    /// Of this priority.
    pub priority: Option<TaskPriority>,
    /// Older than this one: when it came and its id.
    pub before: Option<(Timestamp, &'a str)>,
}

/// Tasks without their content, newest first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, filter: &Filter<'_>, limit: i64) -> Result<Vec<Task>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(BRIEF).push(" FROM agent_tasks k WHERE ");
    let mut all = sql.separated(" AND ");
    all.push("true");
    for (column, value) in [("k.submitter = ", filter.submitter), ("k.worker = ", filter.worker)] {
        if let Some(value) = value {
            all.push(column).push_bind_unseparated(value);
        }
    }
    if let Some(state) = filter.state {
        all.push("k.state = ").push_bind_unseparated(state.as_str());
    }
    if let Some(priority) = filter.priority {
        all.push("k.priority = ").push_bind_unseparated(rank(priority));
    }
    if let Some((at, id)) = filter.before {
        all.push("(k.created_at, k.task_id) < (").push_bind_unseparated(at.to_offset());
        all.push_unseparated(", ").push_bind_unseparated(id).push_unseparated(")");
    }
    sql.push(" ORDER BY k.created_at DESC, k.task_id DESC LIMIT ").push_bind(limit);
    sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_tasks.list"))
}
