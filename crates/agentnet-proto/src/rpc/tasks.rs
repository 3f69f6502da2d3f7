//! Tasks, as those see them who submit them: submitting, looking, calling off.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::rpc;
use crate::{
    envelope::Payload,
    lenient,
    task::{TaskPriority, TaskRequirements, TaskState},
};

/// Body of `registry.task_submit`. The answer comes when the task is stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskSubmitRequest {
    /// Who asks, and who the submitter is; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task's id, at most 128 letters, digits, `_`, `-`, `.` and `:`; a UUID unless given. The same id once more
    /// answers the task that is there, if it is the same task.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What kind of work it is; workers choose their handler by it. The member `task_type` of `task_data` unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// What is to be done: any JSON value of at most 200,000 bytes; `{}` unless given.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub task_data: Option<Payload>,
    /// `urgent`, `critical`, `high`, `normal` (unless given) or `low`, in any case.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// What a worker must be.
    #[serde(default, deserialize_with = "or_default")]
    pub requirements: TaskRequirements,
    /// When it is no use any more, ISO 8601, at most 30 days from now; 24 hours from now unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The same from now in milliseconds; the earlier counts.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<i64>,
    /// Two tasks of one submitter with one key are one task.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How often it is tried, 1 to 100; 5 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i64>,
    /// What `consistent_hash` goes by: the task type, or the submitter, unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// Its id.
    pub task_id: String,
    /// Who submitted it, an account id.
    pub submitter: String,
    /// What kind of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Where it is.
    pub state: TaskState,
    /// How soon it wants to be done.
    pub priority: TaskPriority,
    /// What a worker must be.
    pub requirements: TaskRequirements,
    /// What is to be done; absent in lists.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub task_data: Option<Payload>,
    /// What came of it; absent in lists, and unless it was completed.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// Why it ended or was tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How often it was given to a worker.
    pub attempt: i64,
    /// How many attempts were begun and came to nothing.
    pub attempts_failed: i64,
    /// How many may.
    pub max_attempts: i64,
    /// Who has it, or had it last, an account id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The session that accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_session: Option<String>,
    /// How much is done, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What the worker said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_note: Option<String>,
    /// When it was submitted, ISO 8601.
    pub created_at: String,
    /// When it ends as expired, ISO 8601.
    pub deadline: String,
    /// When it is tried next at the earliest, ISO 8601; of a queued one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<String>,
    /// When it was given to the worker, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<String>,
    /// When the worker began, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<String>,
    /// Until when the worker has to say something, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<String>,
    /// When it ended, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAttempt {
    /// Which, from 1.
    pub attempt: i64,
    /// The worker, an account id.
    pub worker: String,
    /// Its session, if it accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When it was given to the worker, ISO 8601.
    pub assigned_at: String,
    /// When the worker began, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<String>,
    /// When it ended, ISO 8601.
    pub ended_at: String,
    /// How: `completed`, or a code.
    pub outcome: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Answer to task_submit and task_cancel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResponse {
    /// The task as it is now, without data and result.
    pub task: TaskView,
    /// Whether this request changed anything: false for a task that was submitted before, or had ended.
    pub changed: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_get`. Submitter, worker and operators may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskGetRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
}

/// Answer to task_get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskGetResponse {
    /// The task with data and result.
    pub task: TaskView,
    /// Attempts that ended, the latest 100, in order.
    pub attempts: Vec<TaskAttempt>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_list`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskListRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Only those that this account submitted, by id or username. Whoever is no operator sees its own without asking.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// Only those that this account has or had last, by id or username.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Only those in this state.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those of this priority.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to task_list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskListResponse {
    /// The tasks, without data and result.
    pub tasks: Vec<TaskView>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_cancel`. Submitter and operators may; a task that has ended stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskCancelRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// Why, for people.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A value that is null is one that is there.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

/// Null is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

rpc!(
    /// `registry.task_submit`.
    TaskSubmit, TaskSubmit, TaskSubmitRequest, TaskResponse
);
rpc!(
    /// `registry.task_get`.
    TaskGet, TaskGet, TaskGetRequest, TaskGetResponse
);
rpc!(
    /// `registry.task_list`.
    TaskList, TaskList, TaskListRequest, TaskListResponse
);
rpc!(
    /// `registry.task_cancel`.
    TaskCancel, TaskCancel, TaskCancelRequest, TaskResponse
);
