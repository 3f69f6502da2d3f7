//! A task's row.

use agentnet_proto::Timestamp;
use agentnet_proto::envelope::Payload;
use agentnet_proto::rpc::TaskView;
use agentnet_proto::task::{TaskPriority, TaskRequirements, TaskState};
use sqlx::{FromRow, types::Json};
use time::OffsetDateTime;

/// Columns of [`Task`] without the content.
pub(super) const BRIEF: &str = "k.task_id, k.submitter, k.task_type, k.state, k.priority, k.requirements, k.affinity, \
     k.code, k.detail, k.attempt, k.attempts_failed, k.max_attempts, k.worker, k.worker_session, k.lease, k.progress, \
     k.progress_note, k.created_at, k.deadline, k.next_attempt_at, k.assigned_at, k.accepted_at, k.lease_until, \
     k.finished_at, NULL::text AS task_data, NULL::text AS result";
/// All columns of [`Task`].
pub(super) const WHOLE: &str = "k.task_id, k.submitter, k.task_type, k.state, k.priority, k.requirements, k.affinity, \
     k.code, k.detail, k.attempt, k.attempts_failed, k.max_attempts, k.worker, k.worker_session, k.lease, k.progress, \
     k.progress_note, k.created_at, k.deadline, k.next_attempt_at, k.assigned_at, k.accepted_at, k.lease_until, \
     k.finished_at, k.task_data, k.result";

/// A task.
#[derive(Clone, FromRow)]
#[expect(missing_docs, reason = "columns of agent_tasks, told in its migration and in TaskView")]
pub struct Task {
    pub task_id: String,
    pub submitter: String,
    pub task_type: Option<String>,
    state: String,
    priority: i16,
    requirements: Json<TaskRequirements>,
    pub affinity: String,
    pub code: Option<String>,
    pub detail: Option<String>,
    pub attempt: i32,
    pub attempts_failed: i32,
    pub max_attempts: i32,
    pub worker: Option<String>,
    pub worker_session: Option<String>,
    pub lease: Option<String>,
    pub progress: Option<f64>,
    pub progress_note: Option<String>,
    pub created_at: OffsetDateTime,
    pub deadline: OffsetDateTime,
    pub next_attempt_at: OffsetDateTime,
    pub assigned_at: Option<OffsetDateTime>,
    pub accepted_at: Option<OffsetDateTime>,
    pub lease_until: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    /// `None` where it wasn't asked for.
    pub task_data: Option<String>,
    /// `None` where it wasn't asked for, or isn't there.
    pub result: Option<String>,
}

impl std::fmt::Debug for Task {
    /// Without the lease and the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("task_id", &self.task_id)
            .field("state", &self.state)
            .field("attempt", &self.attempt)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// The state that a column names; the migration lets no other in.
pub(super) fn state(text: &str) -> TaskState {
    TaskState::parse(text).unwrap_or(TaskState::Queued)
}

/// The number of a priority in its column.
pub(super) fn rank(priority: TaskPriority) -> i16 {
    let place = TaskPriority::ALL.iter().position(|one| *one == priority);
    place.and_then(|place| i16::try_from(place).ok()).unwrap_or_default()
}

pub(super) fn priority(rank: i16) -> TaskPriority {
    usize::try_from(rank).ok().and_then(|place| TaskPriority::ALL.get(place)).copied().unwrap_or_default()
}

impl Task {
    /// Where it is.
    #[must_use]
    pub fn state(&self) -> TaskState {
        state(&self.state)
    }

    /// How soon it wants to be done.
    #[must_use]
    pub fn priority(&self) -> TaskPriority {
        priority(self.priority)
    }

    /// What a worker must be.
    #[must_use]
    pub fn requirements(&self) -> &TaskRequirements {
        &self.requirements.0
    }

    /// The task as the wire shows it.
    #[must_use]
    pub fn view(self) -> TaskView {
        let time = |at: OffsetDateTime| Timestamp::from(at).to_string();
        // Written out of a payload, so it reads back as one.
        let payload = |text: String| Payload::from_text(text).ok();
        let state = self.state();
        TaskView {
            state,
            priority: self.priority(),
            task_id: self.task_id,
            submitter: self.submitter,
            task_type: self.task_type,
            requirements: self.requirements.0,
            task_data: self.task_data.and_then(payload),
            result: self.result.and_then(payload),
            code: self.code,
            detail: self.detail,
            attempt: self.attempt.into(),
            attempts_failed: self.attempts_failed.into(),
            max_attempts: self.max_attempts.into(),
            worker: self.worker,
            worker_session: self.worker_session,
            progress: self.progress,
            progress_note: self.progress_note,
            created_at: time(self.created_at),
            deadline: time(self.deadline),
            next_attempt_at: (state == TaskState::Queued).then(|| time(self.next_attempt_at)),
            assigned_at: self.assigned_at.map(time),
            accepted_at: self.accepted_at.map(time),
            lease_until: self.lease_until.map(time),
            finished_at: self.finished_at.map(time),
        }
    }
}
