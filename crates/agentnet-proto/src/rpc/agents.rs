//! Agents as the coordinator knows them: what they are, how they are, where they are reached.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::{SecretText, lenient};

/// What an agent may be: the seed's types and those of its implementation.
pub const AGENT_TYPES: [&str; 12] = [
    "worker",
    "provider",
    "consumer",
    "general",
    "coordinator",
    "specialist",
    "monitor",
    "gateway",
    "orchestrator",
    "inference",
    "training",
    "processing",
];
/// How an agent may be.
pub const AGENT_STATUSES: [&str; 6] = ["active", "inactive", "busy", "stale", "maintenance", "error"];
/// Ids that no agent may have, as they are parts of routes.
pub const RESERVED_AGENT_IDS: [&str; 4] = ["register", "discover", "service", "capability"];
/// Longest coordinator id, in bytes.
pub const MAX_AGENT_ID: usize = 256;
/// Most agents of one page.
pub const MAX_AGENTS_PAGE: i64 = 1_000;

/// From whom an agent takes what, under each protocol of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Accepts {
    /// `all` (default), `relations` (its coordinator, its workers and its owner), or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hierarchical: Option<String>,
    /// `all` (default), `peers` (those it noted as peers), or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_to_peer: Option<String>,
    /// `all` (default) or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<String>,
    /// `webhook` (default where the endpoints name one) or `poll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
}

/// Body of `registry.agent_register`: an agent that comes in over HTTP, or says more about itself. Registering again
/// replaces what was said before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentRegisterRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The coordinator's id, kept byte for byte; required.
    #[serde(default)]
    pub agent_id: String,
    /// One of [`AGENT_TYPES`]; required.
    #[serde(default)]
    pub agent_type: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What it offers.
    #[serde(default)]
    pub services: Vec<String>,
    /// Where it is reached: URLs by name. `messages` is its webhook, else `{http}/messages`.
    #[serde(default)]
    pub endpoints: BTreeMap<String, String>,
    /// Anything else about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its version; `metadata.version`, else `1.0.0`, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The agent whose worker it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// From whom it takes what.
    #[serde(default)]
    pub accepts: Accepts,
}

/// Answer to agent_register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRegisterResponse {
    /// The agent as it stands now.
    pub agent: AgentCard,
    /// Whether its account is new.
    pub created: bool,
    /// What its webhook's requests are signed with; told once, when the webhook is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<SecretText>,
    /// A key that speaks for it over HTTP; told once, when the account is new. None in open mode, where keys mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretText>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCard {
    /// Its coordinator id: as it registered, else its username.
    pub agent_id: String,
    /// Its account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// One of [`AGENT_TYPES`].
    pub agent_type: String,
    /// One of [`AGENT_STATUSES`]: what it reported, as far as it was heard of since.
    pub status: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it offers.
    pub services: Vec<String>,
    /// Where it is reached.
    pub endpoints: BTreeMap<String, String>,
    /// Anything else about it.
    pub metadata: Map<String, Value>,
    /// When it was heard of last, ISO 8601.
    pub last_heartbeat: Option<String>,
    /// When it registered last, ISO 8601.
    pub registration_time: String,
    /// What it reported last.
    pub load_metrics: BTreeMap<String, f64>,
    /// From 0 to 1.
    pub health_score: f64,
    /// Its version.
    pub version: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// From whom it takes what.
    #[serde(default)]
    pub accepts: Accepts,
    /// The account of the agent whose worker it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator_id: Option<String>,
    /// Its webhook, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookState>,
}

/// How an agent's webhook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookState {
    /// Where messages are posted.
    pub url: String,
    /// How many posts failed since one succeeded.
    pub failures: i32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Since when nothing is posted any more, after too many failures; registering again turns it on. ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

/// Body of `registry.agent_discover`: agents that have everything that is asked for, healthiest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentDiscoverRequest {
    /// Only of this status.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only of this type.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Only those that can do all of this.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Only those that offer all of this.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Only those with all of these tags.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Only those at least as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_health_score: Option<f64>,
    /// At most this many, 1 to 1,000; 100 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to agent_discover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentDiscoverResponse {
    /// Healthiest first, then by account id.
    pub agents: Vec<AgentCard>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.agent_show`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentShowRequest {
    /// The agent: its coordinator id, its username, or its account id, looked for in this order; required.
    #[serde(default)]
    pub agent: String,
}

/// Answer to agent_show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentShowResponse {
    /// The agent.
    pub agent: AgentCard,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.agent_report`: how an agent is. The agent itself, its owner and operators may say it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentReportRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The agent, as in agent_show; required.
    #[serde(default)]
    pub agent: String,
    /// One of [`AGENT_STATUSES`]; without, it is a heartbeat: the status stays, and what was inactive or stale is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Merged into what it reported before, as in set_status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub load_metrics: BTreeMap<String, f64>,
}

/// Body of `registry.agent_stats`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentStatsRequest {}

/// Answer to agent_stats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStatsResponse {
    /// All agents.
    pub total_agents: i64,
    /// By status.
    pub status_counts: BTreeMap<String, i64>,
    /// By type.
    pub type_counts: BTreeMap<String, i64>,
    /// Different capabilities.
    pub capabilities: i64,
    /// Different services.
    pub services: i64,
    /// Mean over all agents; 0 without any.
    pub average_health_score: f64,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.agent_register`.
    AgentRegister, AgentRegister, AgentRegisterRequest, AgentRegisterResponse
);
rpc!(
    /// `registry.agent_discover`.
    AgentDiscover, AgentDiscover, AgentDiscoverRequest, AgentDiscoverResponse
);
rpc!(
    /// `registry.agent_show`.
    AgentShow, AgentShow, AgentShowRequest, AgentShowResponse
);
rpc!(
    /// `registry.agent_report`.
    AgentReport, AgentReport, AgentReportRequest, AgentShowResponse
);
rpc!(
    /// `registry.agent_stats`.
    AgentStats, AgentStats, AgentStatsRequest, AgentStatsResponse
);
