//! Tasks, as those see them who run the network: queues and figures.

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem},
    rates::Class,
};

/// What became of tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskStatus {
    /// Always `success`.
    status: &'static str,
    /// The figures.
    stats: rpc::TaskStatsResponse,
    /// When, ISO 8601.
    timestamp: String,
}

/// What became of tasks, in figures
#[utoipa::path(get, path = "/tasks/status", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/TaskStatus"))))]
pub(crate) async fn status(State(app): State<App>, caller: Caller) -> Result<Json<TaskStatus>, Problem> {
    caller.pass(&app, Class::Read)?;
    let stats = caller.seat.node.registry().call::<rpc::TaskStats>(&rpc::TaskStatsRequest {}).await?;
    Ok(Json(TaskStatus { status: "success", stats, timestamp: app.now() }))
}

/// The queues.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Queues {
    /// Always `success`.
    status: &'static str,
    /// One for each priority, the most urgent first.
    queues: Vec<rpc::TaskQueue>,
    /// How many tasks wait in all.
    total_queued: i64,
    /// When, ISO 8601.
    timestamp: String,
}

async fn read(app: &App, caller: &Caller) -> Result<Json<Queues>, Problem> {
    caller.pass(app, Class::Read)?;
    let answer = caller.seat.node.registry().call::<rpc::TaskQueues>(&rpc::TaskQueuesRequest {}).await?;
    Ok(Json(Queues {
        status: "success",
        total_queued: answer.queues.iter().map(|queue| queue.queued).sum(),
        queues: answer.queues,
        timestamp: app.now(),
    }))
}

/// How many tasks wait, by priority
#[utoipa::path(get, path = "/tasks/queues", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/Queues"))))]
pub(crate) async fn queues(State(app): State<App>, caller: Caller) -> Result<Json<Queues>, Problem> {
    read(&app, &caller).await
}

/// The same
#[utoipa::path(get, path = "/tasks/queues/stats", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/Queues"))))]
pub(crate) async fn stats(State(app): State<App>, caller: Caller) -> Result<Json<Queues>, Problem> {
    read(&app, &caller).await
}

/// What was called off.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueueCleared {
    /// Always `success`.
    status: &'static str,
    /// The queue.
    priority: String,
    /// How many tasks.
    cleared_count: i64,
    /// Whether some may be left; ask again.
    more: bool,
    /// When, ISO 8601.
    timestamp: String,
}

/// Call off what waits in a queue; for operators
#[utoipa::path(post, path = "/tasks/queues/{priority}/clear", tag = "coordinator",
    params(("priority" = String, Path, description = "The queue.")),
    responses((status = 200, body = ref("#/components/schemas/QueueCleared"))))]
pub(crate) async fn clear(
    State(app): State<App>,
    caller: Caller,
    Parts(priority): Parts<String>,
) -> Result<Json<QueueCleared>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::TaskQueueClearRequest { account_id: caller.claims(), priority };
    let answer = caller.seat.node.registry().call::<rpc::TaskQueueClear>(&request).await.map_err(refused)?;
    Ok(Json(QueueCleared {
        status: "success",
        priority: answer.priority,
        cleared_count: answer.cleared,
        more: answer.more,
        timestamp: app.now(),
    }))
}
