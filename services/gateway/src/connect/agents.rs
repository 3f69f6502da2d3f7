//! Agents, as the Agent-connect clients know them: those online, and those that the account registered.

use std::collections::{BTreeMap, HashMap};

use agentnet_proto::{
    ErrorCode,
    rpc::{AgentInfo, ThreadListRequest},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{choose, registered};
use crate::{
    app::App,
    caller::Known,
    http::{Parts, Problem},
    rates::Class,
    seats::Seat,
};

/// How an agent is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AgentStatus {
    /// Its account; of a registered one the id it was given.
    agent_id: String,
    /// Always `ai`: people aren't listed.
    agent_type: &'static str,
    /// Its name, for people.
    name: String,
    /// `active` when it is online, `inactive` when it isn't.
    status: &'static str,
    /// When the network last heard of it, ISO 8601.
    last_active: String,
    /// What it can do.
    capabilities: Vec<String>,
    /// How it may be talked with.
    interaction_modes: Vec<String>,
    /// The account it belongs to.
    owner_id: String,
    /// Whether it is online.
    is_running: bool,
    /// Messages of the caller's latest 100 threads that it takes part in.
    message_count: i64,
    /// Whether it belongs to the caller.
    is_owned: bool,
    /// What provides its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// What it tells about itself, `provider` and `model` included.
    metadata: Map<String, Value>,
}

/// Agents.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentList {
    /// Those online, and those that the account registered.
    agents: Vec<AgentStatus>,
    /// When this was true, ISO 8601.
    timestamp: String,
    /// How many there are.
    total_count: usize,
    /// How many of them belong to the caller.
    user_owned_count: usize,
}

/// What an agent can do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentCapabilities {
    /// The agent.
    agent_id: String,
    /// What it can do.
    capabilities: Vec<String>,
    /// How it may be talked with.
    interaction_modes: Vec<String>,
}

/// Everybody there is, by id.
async fn everybody(seat: &Seat) -> Result<BTreeMap<String, AgentStatus>, Problem> {
    let online = choose::online(seat).await?;
    let counts = counts(seat).await?;
    let mut all = BTreeMap::new();
    for agent in &online {
        let Some(account) = &agent.account_id else { continue };
        let known = of_online(seat, account, agent, counts.get(account).copied().unwrap_or(0));
        // Of several sessions of one account the one heard of last.
        match all.get(account) {
            Some(AgentStatus { last_active, .. }) if *last_active >= known.last_active => {}
            _ => drop(all.insert(account.clone(), known)),
        }
    }
    for own in registered::all(seat).await?.into_values() {
        let known = of_registered(seat, own, &online, &counts);
        all.insert(known.agent_id.clone(), known);
    }
    Ok(all)
}

/// Messages of the threads that the caller sees, by participant.
async fn counts(seat: &Seat) -> Result<HashMap<String, i64>, Problem> {
    let request = ThreadListRequest {
        participant_account_id: Some(seat.account.to_string()),
        limit: Some(100),
        ..ThreadListRequest::default()
    };
    let mut counts = HashMap::new();
    for thread in seat.node.registry().thread_list(&request).await?.results {
        for participant in thread.participants {
            *counts.entry(participant).or_default() += thread.message_count;
        }
    }
    Ok(counts)
}

fn of_online(seat: &Seat, account: &str, agent: &AgentInfo, message_count: i64) -> AgentStatus {
    let owner_id = choose::text(agent, "owner_id").unwrap_or(account).to_owned();
    let modes = agent
        .metadata
        .get("interaction_modes")
        .and_then(Value::as_array)
        .map(|modes| modes.iter().filter_map(|mode| mode.as_str().map(str::to_owned)).collect());
    AgentStatus {
        agent_id: account.to_owned(),
        agent_type: "ai",
        name: if agent.name.is_empty() { agent.agent_id.clone() } else { agent.name.clone() },
        status: "active",
        last_active: agent.last_seen.clone().unwrap_or_default(),
        capabilities: agent.capabilities.clone(),
        interaction_modes: modes.unwrap_or_else(registered::default_modes),
        is_owned: owner_id == seat.account.as_str(),
        owner_id,
        is_running: true,
        message_count,
        provider: choose::text(agent, "provider").map(str::to_owned),
        model: choose::models(agent).next().map(str::to_owned),
        metadata: agent.metadata.clone(),
    }
}

fn of_registered(
    seat: &Seat,
    own: registered::Own,
    online: &[AgentInfo],
    counts: &HashMap<String, i64>,
) -> AgentStatus {
    let behind = choose::choose(online, &own.agent_id, &own.agent.wanted(), &[]).ok();
    let mut metadata = own.agent.metadata.clone().unwrap_or_default();
    metadata.insert("provider".to_owned(), json!(own.agent.provider));
    metadata.insert("model".to_owned(), json!(own.agent.model));
    metadata.insert("personality".to_owned(), json!(own.agent.personality));
    AgentStatus {
        agent_type: "ai",
        status: if behind.is_some() { "active" } else { "inactive" },
        last_active: own.since,
        interaction_modes: own.agent.modes(),
        owner_id: seat.account.to_string(),
        is_running: behind.is_some(),
        message_count: behind.and_then(|agent| counts.get(&agent.agent_id).copied()).unwrap_or(0),
        is_owned: true,
        provider: Some(own.agent.provider),
        model: own.agent.model,
        capabilities: own.agent.capabilities.unwrap_or_default(),
        name: own.agent.name,
        agent_id: own.agent_id,
        metadata,
    }
}

/// One agent, by id.
pub(super) async fn one(seat: &Seat, agent_id: &str) -> Result<AgentStatus, Problem> {
    let mut all = everybody(seat).await?;
    all.remove(agent_id).ok_or_else(|| {
        Problem::new(ErrorCode::NotFound, "Agent not found: it is neither online nor registered")
    })
}

/// Agents online, and those the account registered
#[utoipa::path(get, path = "/api/agents/list", tag = "agent-connect",
    responses((status = 200, body = ref("#/components/schemas/AgentList"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Known { caller, .. }: Known,
) -> Result<Json<AgentList>, Problem> {
    caller.pass(&app, Class::Agents)?;
    let agents: Vec<AgentStatus> = everybody(&caller.seat).await?.into_values().collect();
    let user_owned_count = agents.iter().filter(|agent| agent.is_owned).count();
    Ok(Json(AgentList { total_count: agents.len(), user_owned_count, agents, timestamp: app.now() }))
}

/// How an agent is
#[utoipa::path(get, path = "/api/agents/status/{agent_id}", tag = "agent-connect",
    params(("agent_id" = String, Path, description = "Its account, or the id it was given when it was registered.")),
    responses((status = 200, body = ref("#/components/schemas/AgentStatus"))))]
pub(crate) async fn status(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(agent_id): Parts<String>,
) -> Result<Json<AgentStatus>, Problem> {
    caller.pass(&app, Class::Agents)?;
    Ok(Json(one(&caller.seat, &agent_id).await?))
}

/// What an agent can do
#[utoipa::path(get, path = "/api/agents/{agent_id}/capabilities", tag = "agent-connect",
    params(("agent_id" = String, Path, description = "Its account, or the id it was given when it was registered.")),
    responses((status = 200, body = ref("#/components/schemas/AgentCapabilities"))))]
pub(crate) async fn capabilities(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(agent_id): Parts<String>,
) -> Result<Json<AgentCapabilities>, Problem> {
    caller.pass(&app, Class::Agents)?;
    let AgentStatus { agent_id, capabilities, interaction_modes, .. } = one(&caller.seat, &agent_id).await?;
    Ok(Json(AgentCapabilities { agent_id, capabilities, interaction_modes }))
}
