//! Tasks, as workers see them: accepting one, and saying what comes of it. Only the worker that a task is assigned to may.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TaskView, rpc, tasks::present};
use crate::{envelope::Payload, lenient, task::TaskState};

/// Body of `registry.task_accept`: the worker begins. The first session of the worker that asks gets the lease; the same
/// session is answered alike when it asks again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskAcceptRequest {
    /// Who asks: the worker; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// Which assignment, as the message said; the current one unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,
    /// The session that will do it. Its end ends the attempt.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_tag: Option<String>,
}

/// Answer to task_accept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAcceptResponse {
    /// What every later word about this attempt has to show.
    pub lease: String,
    /// How long the worker may be silent, in milliseconds. A third of it is a good time between heartbeats.
    pub lease_ms: i64,
    /// The task, with its data.
    pub task: TaskView,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_heartbeat` and `registry.task_progress`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskProgressRequest {
    /// Who asks: the worker; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// What task_accept answered; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub lease: String,
    /// How much is done, 0 to 1; required for task_progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Anything about it, at most 1,024 characters.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of `registry.task_complete`. Asked again it answers alike.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskCompleteRequest {
    /// Who asks: the worker; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// What task_accept answered; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub lease: String,
    /// What came of it: any JSON value of at most 200,000 bytes; null unless given.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}

/// Body of `registry.task_fail`. Also who won't begin says so, then without a lease.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskFailRequest {
    /// Who asks: the worker; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The task; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// What task_accept answered; absent for a task that wasn't accepted.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Why, a short word; `handler_error` unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether another attempt may do better. Else the task ends as failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// Answer to what a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReportResponse {
    /// The task.
    pub task_id: String,
    /// Where it is now.
    pub state: TaskState,
    /// Until when the worker has to say something again, ISO 8601; while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.task_accept`.
    TaskAccept, TaskAccept, TaskAcceptRequest, TaskAcceptResponse
);
rpc!(
    /// `registry.task_heartbeat`.
    TaskHeartbeat, TaskHeartbeat, TaskProgressRequest, TaskReportResponse
);
rpc!(
    /// `registry.task_progress`.
    TaskProgress, TaskProgress, TaskProgressRequest, TaskReportResponse
);
rpc!(
    /// `registry.task_complete`.
    TaskComplete, TaskComplete, TaskCompleteRequest, TaskReportResponse
);
rpc!(
    /// `registry.task_fail`.
    TaskFail, TaskFail, TaskFailRequest, TaskReportResponse
);
