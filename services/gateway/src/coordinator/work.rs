//! Tasks, as workers see them that come in over HTTP: accepting one, and saying what comes of it.

use agentnet_proto::{ErrorCode, Payload, rpc};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{answers::refused, tasks::account};
use crate::{
    app::App,
    caller::Caller,
    http::{Body, OptionalBody, Parts, Problem},
    rates::Class,
};

/// Which assignment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct WorkerBody {
    /// The worker; needed only where nobody has shown who it is (open mode). There it is the task's worker unless given.
    #[serde(default)]
    agent_id: Option<String>,
    /// Which assignment, as the message said; the current one unless given.
    #[serde(default)]
    attempt: Option<i64>,
}

/// A task that is the worker's.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Accepted {
    /// Always `success`.
    status: &'static str,
    /// What every later word about it has to show.
    lease: String,
    /// How long the worker may be silent, in milliseconds.
    lease_ms: i64,
    /// The task with its data.
    task: rpc::TaskView,
    /// When, ISO 8601.
    timestamp: String,
}

/// Who works: the caller; where nobody is proved, the agent that is named, else the task's worker.
async fn worker(app: &App, caller: &Caller, task_id: &str, agent: Option<String>) -> Result<String, Problem> {
    if app.config.security != agentnet_proto::Security::Open {
        return Ok(caller.seat.account.to_string());
    }
    if let Some(agent) = agent {
        return account(caller, agent).await;
    }
    if let Some(user) = &caller.user {
        return Ok(user.account_id.clone());
    }
    let request = rpc::TaskGetRequest { account_id: None, task_id: task_id.to_owned() };
    let found = caller.seat.node.registry().call::<rpc::TaskGet>(&request).await.map_err(refused)?;
    found.task.worker.ok_or_else(|| Problem::of(ErrorCode::TaskNotAssigned))
}

/// Begin with a task
#[utoipa::path(post, path = "/tasks/{task_id}/accept", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, body = ref("#/components/schemas/Accepted"))))]
pub(crate) async fn accept(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    OptionalBody(body): OptionalBody<WorkerBody>,
) -> Result<Json<Accepted>, Problem> {
    caller.pass(&app, Class::Work)?;
    let account_id = Some(worker(&app, &caller, &task_id, body.agent_id).await?);
    let request = rpc::TaskAcceptRequest {
        account_id,
        task_id,
        attempt: body.attempt,
        ..rpc::TaskAcceptRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::TaskAccept>(&request).await.map_err(refused)?;
    Ok(Json(Accepted {
        status: "success",
        lease: answer.lease,
        lease_ms: answer.lease_ms,
        task: answer.task,
        timestamp: app.now(),
    }))
}

/// How far a worker is.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ProgressBody {
    /// As for accepting.
    #[serde(default)]
    agent_id: Option<String>,
    /// What accepting answered.
    lease: String,
    /// How much is done, 0 to 1.
    #[serde(default)]
    progress: Option<f64>,
    /// Anything about it.
    #[serde(default)]
    note: Option<String>,
}

/// What the task is now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkReported {
    /// Always `success`.
    status: &'static str,
    /// The task.
    task_id: String,
    /// Where it is.
    state: String,
    /// Until when the worker has to say something again, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<String>,
    /// When, ISO 8601.
    timestamp: String,
}

fn reported(app: &App, answer: rpc::TaskReportResponse) -> Json<WorkReported> {
    Json(WorkReported {
        status: "success",
        task_id: answer.task_id,
        state: answer.state.to_string(),
        lease_until: answer.lease_until,
        timestamp: app.now(),
    })
}

/// Say that a task is still being worked at
#[utoipa::path(post, path = "/tasks/{task_id}/heartbeat", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    request_body = ref("#/components/schemas/ProgressBody"),
    responses((status = 200, body = ref("#/components/schemas/WorkReported"))))]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    Body(body): Body<ProgressBody>,
) -> Result<Json<WorkReported>, Problem> {
    let request = progress_request(&app, &caller, task_id, body).await?;
    let answer = caller.seat.node.registry().call::<rpc::TaskHeartbeat>(&request).await.map_err(refused)?;
    Ok(reported(&app, answer))
}

/// Say how far a task is
#[utoipa::path(post, path = "/tasks/{task_id}/progress", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    request_body = ref("#/components/schemas/ProgressBody"),
    responses((status = 200, body = ref("#/components/schemas/WorkReported"))))]
pub(crate) async fn progress(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    Body(body): Body<ProgressBody>,
) -> Result<Json<WorkReported>, Problem> {
    let request = progress_request(&app, &caller, task_id, body).await?;
    let answer = caller.seat.node.registry().call::<rpc::TaskProgress>(&request).await.map_err(refused)?;
    Ok(reported(&app, answer))
}

async fn progress_request(
    app: &App,
    caller: &Caller,
    task_id: String,
    body: ProgressBody,
) -> Result<rpc::TaskProgressRequest, Problem> {
    caller.pass(app, Class::Work)?;
    Ok(rpc::TaskProgressRequest {
        account_id: Some(worker(app, caller, &task_id, body.agent_id).await?),
        task_id,
        lease: body.lease,
        progress: body.progress,
        note: body.note,
    })
}

/// What came of a task.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CompleteBody {
    /// As for accepting.
    #[serde(default)]
    agent_id: Option<String>,
    /// What accepting answered.
    lease: String,
    /// Any JSON value.
    #[serde(default)]
    result: Option<Payload>,
}

/// Say that a task is done
#[utoipa::path(post, path = "/tasks/{task_id}/complete", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    request_body = ref("#/components/schemas/CompleteBody"),
    responses((status = 200, body = ref("#/components/schemas/WorkReported"))))]
pub(crate) async fn complete(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    Body(body): Body<CompleteBody>,
) -> Result<Json<WorkReported>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::TaskCompleteRequest {
        account_id: Some(worker(&app, &caller, &task_id, body.agent_id).await?),
        task_id,
        lease: body.lease,
        result: body.result,
    };
    let answer = caller.seat.node.registry().call::<rpc::TaskComplete>(&request).await.map_err(refused)?;
    Ok(reported(&app, answer))
}

/// Why a task can't be done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct FailBody {
    /// As for accepting.
    #[serde(default)]
    agent_id: Option<String>,
    /// What accepting answered; none for a task that wasn't accepted.
    #[serde(default)]
    lease: Option<String>,
    /// A short word.
    #[serde(default)]
    code: Option<String>,
    /// For people.
    #[serde(default)]
    detail: Option<String>,
    /// Whether another attempt may do better.
    #[serde(default)]
    retry: bool,
}

/// Say that a task can't be done
#[utoipa::path(post, path = "/tasks/{task_id}/fail", tag = "coordinator",
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, body = ref("#/components/schemas/WorkReported"))))]
pub(crate) async fn fail(
    State(app): State<App>,
    caller: Caller,
    Parts(task_id): Parts<String>,
    OptionalBody(body): OptionalBody<FailBody>,
) -> Result<Json<WorkReported>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::TaskFailRequest {
        account_id: Some(worker(&app, &caller, &task_id, body.agent_id).await?),
        task_id,
        lease: body.lease,
        code: body.code,
        detail: body.detail,
        retry: body.retry,
    };
    let answer = caller.seat.node.registry().call::<rpc::TaskFail>(&request).await.map_err(refused)?;
    Ok(reported(&app, answer))
}
