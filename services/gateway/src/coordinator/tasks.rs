//! Tasks, as those see them who submit them.

use agentnet_proto::{Payload, rpc, task::TaskRequirements};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Body, OptionalBody, Parts, Problem, Query},
    rates::Class,
};

/// A task to submit.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SubmitBody {
    /// What is to be done; its `task_type` and `task_id` count, if it has them.
    task_data: Payload,
    /// `urgent`, `critical`, `high`, `normal` or `low`, in any case; `normal` unless given.
    #[serde(default)]
    priority: Option<String>,
    /// What a worker must be.
    #[serde(default)]
    requirements: Option<TaskRequirements>,
    /// When it is no use any more, ISO 8601.
    #[serde(default)]
    deadline: Option<String>,
    /// The same from now in milliseconds.
    #[serde(default)]
    ttl_ms: Option<i64>,
    /// Two tasks of one submitter with one key are one task.
    #[serde(default)]
    idempotency_key: Option<String>,
    /// How often it is tried; 5 unless given.
    #[serde(default)]
    max_attempts: Option<i64>,
    /// What `consistent_hash` goes by.
    #[serde(default)]
    affinity: Option<String>,
}

/// A task that is stored.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Submitted {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: &'static str,
    /// Its id.
    task_id: String,
    /// As given.
    priority: String,
    /// Where it is.
    state: String,
    /// When, ISO 8601.
    submitted_at: String,
}

/// Submit a task
#[utoipa::path(post, path = "/tasks/submit", tag = "coordinator",
    request_body = ref("#/components/schemas/SubmitBody"),
    responses((status = 200, body = ref("#/components/schemas/Submitted"))))]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<SubmitBody>,
) -> Result<Json<Submitted>, Problem> {
    caller.pass(&app, Class::Message)?;
    let priority = body.priority.unwrap_or_else(|| "normal".to_owned());
    #[derive(Default, Deserialize)]
    struct Named {
        task_id: Option<String>,
    }
    let named: Named = body.task_data.parse().unwrap_or_default();
    let request = rpc::TaskSubmitRequest {
        account_id: Some(caller.seat.account.to_string()),
        task_id: named.task_id,
        task_data: Some(body.task_data),
        priority: Some(priority.clone()),
        requirements: body.requirements.unwrap_or_default(),
        deadline: body.deadline,
        ttl_ms: body.ttl_ms,
        idempotency_key: body.idempotency_key,
        max_attempts: body.max_attempts,
        affinity: body.affinity,
        ..rpc::TaskSubmitRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::TaskSubmit>(&request).await.map_err(|error| {
        let mut problem = refused(error);
        if problem.code == "invalid_priority" {
            problem.detail = format!("Invalid priority: {priority}");
        }
        problem
    })?;
    Ok(Json(Submitted {
        status: "success",
        message: "Task submitted successfully",
        task_id: answer.task.task_id,
        priority,
        state: answer.task.state.to_string(),
        submitted_at: answer.task.created_at,
    }))
}

/// Which tasks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Only those that this account submitted.
    submitter: Option<String>,
    /// Only those that this agent has or had last.
    worker: Option<String>,
    /// Only those in this state.
    state: Option<String>,
    /// Only those of this priority.
    priority: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskPage {
    /// Always `success`.
    status: &'static str,
    /// Newest first, without data and result.
    tasks: Vec<rpc::TaskView>,
    /// How many are here.
    count: usize,
    /// `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Tasks, newest first
#[utoipa::path(get, path = "/tasks", tag = "coordinator", params(Filters),
    responses((status = 200, body = ref("#/components/schemas/TaskPage"))))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(filters): Query<Filters>,
) -> Result<Json<TaskPage>, Problem> {
    caller.pass(&app, Class::Read)?;
    let worker = match filters.worker {
        Some(worker) => Some(account(&caller, worker).await?),
        None => None,
    };
    let request = rpc::TaskListRequest {
        account_id: caller.claims(),
        submitter: filters.submitter,
        worker,
        state: filters.state,
        priority: filters.priority,
        limit: filters.limit.map(i64::from),
        cursor: filters.cursor,
    };
    let answer = caller.seat.node.registry().call::<rpc::TaskList>(&request).await.map_err(refused)?;
    Ok(Json(TaskPage {
        status: "success",
        count: answer.tasks.len(),
        tasks: answer.tasks,
        next_cursor: answer.next_cursor,
        timestamp: app.now(),
    }))
}

/// The account of an agent that goes by its coordinator id.
pub(super) async fn account(caller: &Caller, agent: String) -> Result<String, Problem> {
    let show = rpc::AgentShowRequest { agent };
    let found = caller.seat.node.registry().call::<rpc::AgentShow>(&show).await.map_err(refused)?;
    Ok(found.agent.account_id)
}

/// One task.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskAnswer {
    /// Always `success`.
    status: &'static str,
    /// The task.
    task: rpc::TaskView,
    /// Attempts that ended.
    attempts: Vec<rpc::TaskAttempt>,
    /// When, ISO 8601.
    timestamp: String,
}

/// One task with its result and attempts
#[utoipa::path(get, path = "/tasks/{task_id}", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, body = ref("#/components/schemas/TaskAnswer"))))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
) -> Result<Json<TaskAnswer>, Problem> {
    caller.pass(&app, Class::Read)?;
    let request = rpc::TaskGetRequest { account_id: caller.claims(), task_id };
    let answer = caller.seat.node.registry().call::<rpc::TaskGet>(&request).await.map_err(refused)?;
    Ok(Json(TaskAnswer {
        status: "success",
        task: answer.task,
        attempts: answer.attempts,
        timestamp: app.now(),
    }))
}

/// Why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct CancelBody {
    /// For people.
    #[serde(default)]
    reason: Option<String>,
}

/// A task that was called off, unless it had ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskChanged {
    /// Always `success`.
    status: &'static str,
    /// The task as it is now.
    task: rpc::TaskView,
    /// Whether this changed it.
    changed: bool,
    /// When, ISO 8601.
    timestamp: String,
}

/// Call a task off; its worker hears of it
#[utoipa::path(post, path = "/tasks/{task_id}/cancel", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, body = ref("#/components/schemas/TaskChanged"))))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    OptionalBody(body): OptionalBody<CancelBody>,
) -> Result<Json<TaskChanged>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::TaskCancelRequest { account_id: caller.claims(), task_id, reason: body.reason };
    let answer = caller.seat.node.registry().call::<rpc::TaskCancel>(&request).await.map_err(refused)?;
    Ok(Json(TaskChanged {
        status: "success",
        task: answer.task,
        changed: answer.changed,
        timestamp: app.now(),
    }))
}
