//! What agents say about how they are: their status and their load.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::{lenient, task::AgentStatus};

/// Most figures of one agent's load.
pub const MAX_LOAD_METRICS: usize = 32;
/// Most accounts that one status_list may name.
pub const MAX_STATUSES: usize = 1_000;

/// Body of `registry.set_status`. An account says it about itself; operators about any; in open mode anybody.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SetStatusRequest {
    /// Who asks; may be left out where the network proves it, and in open mode when there is a target.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account it is about, by id or username; the asking one unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `active`, `inactive`, `busy`, `stale`, `maintenance` or `error`; stays as it was unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Figures like `active_connections`, `pending_tasks`, `cpu_usage`, `memory_usage`; those that are given replace what
    /// was known, at most 32 of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub load_metrics: BTreeMap<String, f64>,
}

/// How an account said it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// The account.
    pub account_id: String,
    /// What it is.
    pub status: AgentStatus,
    /// Its load.
    pub load_metrics: BTreeMap<String, f64>,
    /// When that was said, ISO 8601.
    pub updated_at: String,
}

/// Answer to set_status, and body of `agentnet.events.status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusEvent {
    /// How the account is now.
    #[serde(flatten)]
    pub status: StatusView,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.status_list`. Anybody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StatusListRequest {
    /// Account ids, at most 1,000.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub accounts: Vec<String>,
}

/// What an account said, and what it has in hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLoad {
    /// What it said; of one that said nothing it is active, without figures.
    #[serde(flatten)]
    pub status: StatusView,
    /// Tasks that are assigned to it.
    pub tasks_in_hand: i64,
    /// Tasks that it completed.
    pub tasks_completed: i64,
    /// Tasks that were assigned to it and came to nothing there.
    pub tasks_failed: i64,
    /// How long it took for one lately, in milliseconds; absent before its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_ms: Option<f64>,
}

/// Answer to status_list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusListResponse {
    /// One for each account that was asked about.
    pub agents: Vec<AgentLoad>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.set_status`.
    SetStatus, SetStatus, SetStatusRequest, StatusEvent
);
rpc!(
    /// `registry.status_list`.
    StatusList, StatusList, StatusListRequest, StatusListResponse
);
