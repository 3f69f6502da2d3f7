//! Agents: registering, finding, how they are.

use std::{collections::BTreeMap, fmt::Write as _};

use agentnet_proto::{SecretText, rpc};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Body, OptionalBody, Parts, Problem},
    rates::Class,
};

/// An agent to register.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RegisterBody {
    /// Its id, kept byte for byte.
    agent_id: String,
    /// What it is: `worker`, `provider`, `consumer`, `general`, `coordinator`, `specialist`, `monitor`, `gateway`,
    /// `orchestrator`, `inference`, `training` or `processing`.
    agent_type: String,
    /// What it can do.
    #[serde(default)]
    capabilities: Vec<String>,
    /// What it offers.
    #[serde(default)]
    services: Vec<String>,
    /// Where it is reached: URLs by name. Messages are posted to `messages`, else to `{http}/messages`.
    #[serde(default)]
    endpoints: BTreeMap<String, String>,
    /// Anything else about it.
    #[serde(default)]
    metadata: Map<String, Value>,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Its version.
    #[serde(default)]
    version: Option<String>,
    /// The agent whose worker it is.
    #[serde(default)]
    coordinator: Option<String>,
    /// From whom it takes what.
    #[serde(default)]
    accepts: rpc::Accepts,
}

/// An agent that was registered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentRegistered {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: String,
    /// Its id.
    agent_id: String,
    /// Its account.
    account_id: String,
    /// Whether the account is new.
    created: bool,
    /// When, ISO 8601.
    registered_at: String,
    /// What its webhook's requests are signed with; shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<SecretText>,
    /// A key that speaks for it; shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<SecretText>,
}

/// Register an agent, or say more about it
#[utoipa::path(post, path = "/agents/register", tag = "coordinator",
    request_body = ref("#/components/schemas/RegisterBody"),
    responses((status = 200, body = ref("#/components/schemas/AgentRegistered"))))]
pub(crate) async fn register(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<RegisterBody>,
) -> Result<Json<AgentRegistered>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::AgentRegisterRequest {
        account_id: caller.claims(),
        agent_id: body.agent_id,
        agent_type: body.agent_type,
        capabilities: body.capabilities,
        services: body.services,
        endpoints: body.endpoints,
        metadata: body.metadata,
        tags: body.tags,
        version: body.version,
        coordinator: body.coordinator,
        accepts: body.accepts,
    };
    let registry = caller.seat.node.registry();
    let answer = registry.call::<rpc::AgentRegister>(&request).await.map_err(refused)?;
    Ok(Json(AgentRegistered {
        status: "success",
        message: format!("Agent {} registered successfully", answer.agent.agent_id),
        agent_id: answer.agent.agent_id,
        account_id: answer.agent.account_id,
        created: answer.created,
        registered_at: answer.agent.registration_time,
        webhook_secret: answer.webhook_secret,
        api_key: answer.api_key,
    }))
}

/// Which agents.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DiscoverBody(Map<String, Value>);

/// Agents that match.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discovered {
    /// Always `success`.
    status: &'static str,
    /// As asked.
    query: Map<String, Value>,
    /// Healthiest first.
    agents: Vec<rpc::AgentCard>,
    /// How many are here.
    count: usize,
    /// `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Agents that have everything that is asked for, healthiest first
///
/// `status`, `agent_type`, `capabilities`, `services`, `tags`, `min_health_score`, `limit` (1 to 1,000; 100 unless given) and
/// `cursor`. Other members are told again and otherwise ignored.
#[utoipa::path(post, path = "/agents/discover", tag = "coordinator",
    request_body = ref("#/components/schemas/DiscoverBody"),
    responses((status = 200, body = ref("#/components/schemas/Discovered"))))]
pub(crate) async fn discover(
    State(app): State<App>,
    caller: Caller,
    Body(DiscoverBody(query)): Body<DiscoverBody>,
) -> Result<Json<Discovered>, Problem> {
    caller.pass(&app, Class::Read)?;
    let request = serde_path_to_error::deserialize(Value::Object(query.clone()))
        .map_err(|error| Problem::field(error.path().to_string(), error.inner().to_string()))?;
    found(&app, &caller, request, query).await
}

async fn found(
    app: &App,
    caller: &Caller,
    request: rpc::AgentDiscoverRequest,
    query: Map<String, Value>,
) -> Result<Json<Discovered>, Problem> {
    let registry = caller.seat.node.registry();
    let answer = registry.call::<rpc::AgentDiscover>(&request).await.map_err(refused)?;
    Ok(Json(Discovered {
        status: "success",
        query,
        count: answer.agents.len(),
        agents: answer.agents,
        next_cursor: answer.next_cursor,
        timestamp: app.now(),
    }))
}

fn one(name: &str, value: &str) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), Value::from(value))])
}

/// Agents that offer a service
#[utoipa::path(get, path = "/agents/service/{service}", tag = "coordinator",
    params(("service" = String, Path, description = "The service.")),
    responses((status = 200, body = ref("#/components/schemas/Discovered"))))]
pub(crate) async fn by_service(
    State(app): State<App>,
    caller: Caller,
    Parts(service): Parts<String>,
) -> Result<Json<Discovered>, Problem> {
    caller.pass(&app, Class::Read)?;
    let query = one("service", &service);
    let request = rpc::AgentDiscoverRequest {
        services: vec![service],
        limit: Some(rpc::MAX_AGENTS_PAGE),
        ..rpc::AgentDiscoverRequest::default()
    };
    found(&app, &caller, request, query).await
}

/// Agents that can do something
#[utoipa::path(get, path = "/agents/capability/{capability}", tag = "coordinator",
    params(("capability" = String, Path, description = "The capability.")),
    responses((status = 200, body = ref("#/components/schemas/Discovered"))))]
pub(crate) async fn by_capability(
    State(app): State<App>,
    caller: Caller,
    Parts(capability): Parts<String>,
) -> Result<Json<Discovered>, Problem> {
    caller.pass(&app, Class::Read)?;
    let query = one("capability", &capability);
    let request = rpc::AgentDiscoverRequest {
        capabilities: vec![capability],
        limit: Some(rpc::MAX_AGENTS_PAGE),
        ..rpc::AgentDiscoverRequest::default()
    };
    found(&app, &caller, request, query).await
}

/// One agent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentAnswer {
    /// Always `success`.
    status: &'static str,
    /// The agent.
    agent: rpc::AgentCard,
    /// When, ISO 8601.
    timestamp: String,
}

/// One agent, by its id, its username or its account id
#[utoipa::path(get, path = "/agents/{agent_id}", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent.")),
    responses((status = 200, body = ref("#/components/schemas/AgentAnswer"))))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
) -> Result<Json<AgentAnswer>, Problem> {
    caller.pass(&app, Class::Read)?;
    let answer = caller.seat.node.registry().call::<rpc::AgentShow>(&rpc::AgentShowRequest { agent }).await;
    Ok(Json(AgentAnswer { status: "success", agent: answer.map_err(refused)?.agent, timestamp: app.now() }))
}

/// How an agent is.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StatusBody {
    /// `active`, `inactive`, `busy`, `stale`, `maintenance` or `error`.
    status: String,
    /// Numbers by name, merged into what it said before.
    #[serde(default)]
    load_metrics: BTreeMap<String, f64>,
}

/// What an agent said about itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Reported {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: String,
    /// The agent.
    agent_id: String,
    /// Its status now.
    new_status: String,
    /// From 0 to 1.
    health_score: f64,
    /// When, ISO 8601.
    updated_at: String,
}

/// Say how an agent is
#[utoipa::path(put, path = "/agents/{agent_id}/status", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent.")),
    request_body = ref("#/components/schemas/StatusBody"),
    responses((status = 200, body = ref("#/components/schemas/Reported"))))]
pub(crate) async fn status(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    Body(body): Body<StatusBody>,
) -> Result<Json<Reported>, Problem> {
    report(&app, &caller, agent, Some(body.status), body.load_metrics, "status updated").await
}

/// What may go with a heartbeat.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Heartbeat {
    /// Numbers by name, merged into what it said before.
    #[serde(default)]
    load_metrics: BTreeMap<String, f64>,
}

/// Say that an agent is there
///
/// What was `inactive` or `stale` is `active` then; other statuses stay.
#[utoipa::path(post, path = "/agents/{agent_id}/heartbeat", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent.")),
    responses((status = 200, body = ref("#/components/schemas/Reported"))))]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    OptionalBody(body): OptionalBody<Heartbeat>,
) -> Result<Json<Reported>, Problem> {
    report(&app, &caller, agent, None, body.load_metrics, "heartbeat received").await
}

async fn report(
    app: &App,
    caller: &Caller,
    agent: String,
    status: Option<String>,
    load_metrics: BTreeMap<String, f64>,
    what: &str,
) -> Result<Json<Reported>, Problem> {
    caller.pass(app, Class::Work)?;
    let request = rpc::AgentReportRequest { account_id: caller.claims(), agent, status, load_metrics };
    let answer = caller.seat.node.registry().call::<rpc::AgentReport>(&request).await.map_err(refused)?;
    Ok(Json(Reported {
        status: "success",
        message: format!("Agent {} {what}", answer.agent.agent_id),
        agent_id: answer.agent.agent_id,
        new_status: answer.agent.status,
        health_score: answer.agent.health_score,
        updated_at: answer.generated_at,
    }))
}

/// Figures over all agents.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RegistryStats {
    /// Always `success`.
    status: &'static str,
    /// The figures.
    stats: rpc::AgentStatsResponse,
    /// When, ISO 8601.
    timestamp: String,
}

/// How many agents there are, of which kinds
#[utoipa::path(get, path = "/registry/stats", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/RegistryStats"))))]
pub(crate) async fn stats(State(app): State<App>, caller: Caller) -> Result<Json<RegistryStats>, Problem> {
    caller.pass(&app, Class::Read)?;
    let stats = caller.seat.node.registry().call::<rpc::AgentStats>(&rpc::AgentStatsRequest {}).await?;
    Ok(Json(RegistryStats { status: "success", stats, timestamp: app.now() }))
}

/// The same, and the tasks', as Prometheus reads it
#[utoipa::path(get, path = "/metrics", tag = "coordinator",
    responses((status = 200, description = "Prometheus' text format.", content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.pass(&app, Class::Read)?;
    let registry = caller.seat.node.registry();
    let agents = registry.call::<rpc::AgentStats>(&rpc::AgentStatsRequest {}).await?;
    let tasks = registry.call::<rpc::TaskStats>(&rpc::TaskStatsRequest {}).await?;
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, kind: &str, rows: &[(String, f64)]| {
        // A String refuses no write.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let by = |label: &str, counts: &BTreeMap<String, i64>| -> Vec<(String, f64)> {
        counts.iter().map(|(name, n)| (format!("{{{label}=\"{name}\"}}"), *n as f64)).collect()
    };
    let plain = |value: f64| vec![(String::new(), value)];
    gauge("agentnet_agents", "Agents by status.", "gauge", &by("status", &agents.status_counts));
    gauge("agentnet_agents_by_type", "Agents by type.", "gauge", &by("type", &agents.type_counts));
    gauge("agentnet_agents_health", "Mean health score.", "gauge", &plain(agents.average_health_score));
    gauge("agentnet_tasks_queued", "Tasks that wait.", "gauge", &by("priority", &tasks.queue_sizes));
    for (name, help, value) in [
        ("agentnet_tasks_distributed_total", "Assignments.", tasks.tasks_distributed),
        ("agentnet_tasks_completed_total", "Tasks that were done.", tasks.tasks_completed),
        ("agentnet_tasks_failed_total", "Tasks that ended otherwise.", tasks.tasks_failed),
    ] {
        gauge(name, help, "counter", &plain(value as f64));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
