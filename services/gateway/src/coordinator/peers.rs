//! Peers: whom an agent noted. The same table as friends in the client crate.

use std::collections::BTreeMap;

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem, Query},
    rates::Class,
};

/// Who and whom.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Pair {
    /// The agent that notes.
    agent_id: String,
    /// Whom.
    peer_id: String,
}

/// What changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PeerChanged {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: String,
    /// The agent.
    agent_id: String,
    /// The peer.
    peer_id: String,
    /// When it was added, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<String>,
    /// When it was removed, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<String>,
}

/// Note a peer; once more changes nothing
#[utoipa::path(post, path = "/peers/add", tag = "coordinator", params(Pair),
    responses((status = 200, body = ref("#/components/schemas/PeerChanged"))))]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Query(pair): Query<Pair>,
) -> Result<Json<PeerChanged>, Problem> {
    caller.pass(&app, Class::Work)?;
    let agent = known(&app, &caller, &pair.agent_id).await?;
    let peer = known(&app, &caller, &pair.peer_id).await?;
    let request = rpc::PeerAddRequest {
        account_id: caller.claims(),
        agent: Some(agent),
        peer,
        ..rpc::PeerAddRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::PeerAdd>(&request).await.map_err(refused)?;
    Ok(Json(PeerChanged {
        status: "success",
        message: format!("Peer {} added for agent {}", pair.peer_id, pair.agent_id),
        agent_id: pair.agent_id,
        peer_id: pair.peer_id,
        connected_at: Some(answer.peer.created_at),
        removed_at: None,
    }))
}

/// Forget a peer; once more changes nothing
#[utoipa::path(post, path = "/peers/remove", tag = "coordinator", params(Pair),
    responses((status = 200, body = ref("#/components/schemas/PeerChanged"))))]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Query(pair): Query<Pair>,
) -> Result<Json<PeerChanged>, Problem> {
    caller.pass(&app, Class::Work)?;
    let agent = known(&app, &caller, &pair.agent_id).await?;
    let peer = known(&app, &caller, &pair.peer_id).await?;
    let request = rpc::PeerRemoveRequest { account_id: caller.claims(), agent: Some(agent), peer };
    let answer = caller.seat.node.registry().call::<rpc::PeerRemove>(&request).await.map_err(refused)?;
    Ok(Json(PeerChanged {
        status: "success",
        message: format!("Peer {} removed for agent {}", pair.peer_id, pair.agent_id),
        agent_id: pair.agent_id,
        peer_id: pair.peer_id,
        connected_at: None,
        removed_at: Some(answer.generated_at),
    }))
}

/// The account of an agent. Where nobody proves anything, one that isn't there is made, inactive until it is heard of, so
/// that what is noted about it stays when it comes.
async fn known(app: &App, caller: &Caller, agent: &str) -> Result<String, Problem> {
    let registry = caller.seat.node.registry();
    let show = rpc::AgentShowRequest { agent: agent.to_owned() };
    match registry.call::<rpc::AgentShow>(&show).await {
        Ok(found) => return Ok(found.agent.account_id),
        Err(error)
            if error.code() == "not_found" && app.config.security == agentnet_proto::Security::Open => {}
        Err(error) => return Err(refused(error)),
    }
    let request = rpc::AgentRegisterRequest {
        agent_id: agent.to_owned(),
        agent_type: "general".to_owned(),
        ..rpc::AgentRegisterRequest::default()
    };
    let made = registry.call::<rpc::AgentRegister>(&request).await.map_err(refused)?.agent;
    let report = rpc::AgentReportRequest {
        agent: made.account_id.clone(),
        status: Some("inactive".to_owned()),
        ..rpc::AgentReportRequest::default()
    };
    registry.call::<rpc::AgentReport>(&report).await.map_err(refused)?;
    Ok(made.account_id)
}

/// Whom an agent noted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Peers {
    /// Always `success`.
    status: &'static str,
    /// The agent.
    agent_id: String,
    /// Its peers.
    peers: Vec<String>,
    /// How many.
    count: usize,
    /// When, ISO 8601.
    timestamp: String,
}

/// Whom an agent noted
#[utoipa::path(get, path = "/peers/{agent_id}", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent.")),
    responses((status = 200, body = ref("#/components/schemas/Peers"))))]
pub(crate) async fn of(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
) -> Result<Json<Peers>, Problem> {
    caller.pass(&app, Class::Read)?;
    let found = match graph(&caller, Some(agent.clone())).await {
        // As the seed has it: nobody knows anybody.
        Err(problem)
            if problem.code == "not_found" && app.config.security == agentnet_proto::Security::Open =>
        {
            BTreeMap::new()
        }
        found => found?,
    };
    let peers: Vec<String> = found.into_values().flatten().collect();
    Ok(Json(Peers { status: "success", agent_id: agent, count: peers.len(), peers, timestamp: app.now() }))
}

/// Who noted whom.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Connections {
    /// Always `success`.
    status: &'static str,
    /// Peers by agent.
    connections: BTreeMap<String, Vec<String>>,
    /// Agents that noted somebody.
    total_agents: usize,
    /// All pairs.
    total_peers: usize,
    /// When, ISO 8601.
    timestamp: String,
}

/// Who noted whom; for operators
#[utoipa::path(get, path = "/peers", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/Connections"))))]
pub(crate) async fn all(State(app): State<App>, caller: Caller) -> Result<Json<Connections>, Problem> {
    caller.pass(&app, Class::Read)?;
    let connections = graph(&caller, None).await?;
    Ok(Json(Connections {
        status: "success",
        total_agents: connections.len(),
        total_peers: connections.values().map(Vec::len).sum(),
        connections,
        timestamp: app.now(),
    }))
}

/// All pages.
async fn graph(caller: &Caller, agent: Option<String>) -> Result<BTreeMap<String, Vec<String>>, Problem> {
    let mut request =
        rpc::PeerGraphRequest { account_id: caller.claims(), agent, ..rpc::PeerGraphRequest::default() };
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let page = caller.seat.node.registry().call::<rpc::PeerGraph>(&request).await.map_err(refused)?;
        for (agent, peers) in page.connections {
            all.entry(agent).or_default().extend(peers);
        }
        match page.next_cursor {
            Some(next) => request.cursor = Some(next),
            None => return Ok(all),
        }
    }
}
