//! Agents that an account registers over HTTP: a name and what is wanted. Whoever is online and fits stands behind one.
//!
//! They stand in the account's own thread `agents:<account>`, as sessions stand in theirs.

use std::{collections::BTreeMap, time::Duration};

use agentnet::Stage;
use agentnet_proto::{ErrorCode, rpc};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sessions::WantedAgent;
use crate::{
    app::App,
    caller::Known,
    http::{Body, Parts, Problem},
    rates::Class,
    seats::Seat,
};

pub(super) const KIND: &str = "agent";
const TTL: Duration = Duration::from_secs(60);
/// Most agents of one account.
const MAX_AGENTS: usize = 50;

/// An agent to register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AgentConfig {
    /// Its name, for people.
    pub(super) name: String,
    /// What provides its model.
    pub(super) provider: String,
    /// Its model; any unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// What it must be able to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) capabilities: Option<Vec<String>>,
    /// How it may be talked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interaction_modes: Option<Vec<String>>,
    /// How it is to behave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) personality: Option<String>,
    /// Kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Map<String, Value>>,
}

impl AgentConfig {
    pub(super) fn wanted(&self) -> WantedAgent {
        WantedAgent {
            provider: self.provider.clone(),
            model: self.model.clone(),
            capabilities: self.capabilities.clone(),
            personality: self.personality.clone(),
            metadata: None,
        }
    }

    pub(super) fn modes(&self) -> Vec<String> {
        self.interaction_modes.clone().unwrap_or_else(default_modes)
    }
}

/// How agents may be talked with unless they say otherwise.
pub(super) fn default_modes() -> Vec<String> {
    vec!["human_to_agent".to_owned(), "agent_to_agent".to_owned()]
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Record {
    Registered { agent_id: String, agent: AgentConfig },
    Unregistered { agent_id: String },
}

/// An agent that an account registered.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) agent_id: String,
    pub(super) agent: AgentConfig,
    /// ISO 8601.
    pub(super) since: String,
}

/// The account's agents by id.
pub(super) async fn all(seat: &Seat) -> Result<BTreeMap<String, Own>, Problem> {
    let request = rpc::MessageSearchRequest {
        thread_id: Some(thread(seat)),
        from_account_id: Some(seat.account.to_string()),
        kind: Some(KIND.to_owned()),
        limit: Some(200),
        ..rpc::MessageSearchRequest::default()
    };
    let mut rows = seat.node.registry().message_search(&request).await?.messages;
    rows.reverse();
    let mut own = BTreeMap::new();
    for row in rows {
        match row.payload.parse() {
            Ok(Record::Registered { agent_id, agent }) => {
                own.insert(agent_id.clone(), Own { agent_id, agent, since: row.received_at });
            }
            Ok(Record::Unregistered { agent_id }) => drop(own.remove(&agent_id)),
            Err(_) => {}
        }
    }
    Ok(own)
}

async fn write(seat: &Seat, record: &Record) -> Result<(), Problem> {
    seat.node
        .send(&seat.account, record)
        .thread(thread(seat))
        .kind(KIND)
        .ttl(TTL)
        .until(Stage::Stored)
        .await?;
    Ok(())
}

fn thread(seat: &Seat) -> String {
    format!("agents:{}", seat.account)
}

/// An agent that was registered; every value is a text, as the seed's clients expect.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RegisteredAgent {
    /// Its id.
    agent_id: String,
    /// Always `registered`.
    status: &'static str,
    /// As given.
    name: String,
    /// As given.
    provider: String,
    /// As given; empty for any.
    model: String,
    /// As given, with commas between them.
    capabilities: String,
    /// With commas between them.
    interaction_modes: String,
    /// The account it belongs to.
    owner_id: String,
    /// When, ISO 8601.
    timestamp: String,
}

/// Register an agent
///
/// Whoever is online and fits stands behind it: messages to it go there.
#[utoipa::path(post, path = "/api/agents/register", tag = "agent-connect",
    request_body = ref("#/components/schemas/AgentConfig"),
    responses((status = 200, body = ref("#/components/schemas/RegisteredAgent"))))]
pub(crate) async fn register(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Body(agent): Body<AgentConfig>,
) -> Result<Json<RegisteredAgent>, Problem> {
    caller.pass(&app, Class::Create)?;
    for (field, text) in [("name", &agent.name), ("provider", &agent.provider)] {
        if text.trim().is_empty() || text.len() > 256 {
            return Err(Problem::field(field, "1 to 256 bytes"));
        }
    }
    let seat = &caller.seat;
    if all(seat).await?.len() >= MAX_AGENTS {
        let detail = format!("the account has {MAX_AGENTS} agents already; unregister one first");
        return Err(Problem::new(ErrorCode::SessionsFull, detail));
    }
    let timestamp = app.now();
    let user: String = seat.username.chars().take(8).collect();
    let random: String = app.ids.nonce().chars().take(6).collect();
    let digits: String = timestamp.chars().filter(char::is_ascii_digit).take(14).collect();
    let agent_id = format!("agent_{digits}_{user}_{random}");
    write(seat, &Record::Registered { agent_id: agent_id.clone(), agent: agent.clone() }).await?;
    Ok(Json(RegisteredAgent {
        agent_id,
        status: "registered",
        interaction_modes: agent.modes().join(","),
        name: agent.name,
        provider: agent.provider,
        model: agent.model.unwrap_or_default(),
        capabilities: agent.capabilities.unwrap_or_default().join(","),
        owner_id: seat.account.to_string(),
        timestamp,
    }))
}

/// An agent that is registered no more.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnregisteredAgent {
    /// Its id.
    agent_id: String,
    /// Always `unregistered`.
    status: &'static str,
    /// When, ISO 8601.
    timestamp: String,
}

/// Take a registration back
#[utoipa::path(delete, path = "/api/agents/{agent_id}", tag = "agent-connect",
    params(("agent_id" = String, Path, description = "An agent that the account registered.")),
    responses((status = 200, body = ref("#/components/schemas/UnregisteredAgent"))))]
pub(crate) async fn unregister(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(agent_id): Parts<String>,
) -> Result<Json<UnregisteredAgent>, Problem> {
    caller.pass(&app, Class::Create)?;
    if !all(&caller.seat).await?.contains_key(&agent_id) {
        return Err(Problem::new(ErrorCode::NotFound, "Agent not found among those the account registered"));
    }
    write(&caller.seat, &Record::Unregistered { agent_id: agent_id.clone() }).await?;
    Ok(Json(UnregisteredAgent { agent_id, status: "unregistered", timestamp: app.now() }))
}
