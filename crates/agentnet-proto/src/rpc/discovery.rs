//! List, search, profile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AgentInfo, rpc};
use crate::{lenient, sub_system::SubSystem};

/// Body of `registry.list`. The original ignores it; every filter is new.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListRequest {
    /// Only sessions with exactly this capability.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Only sessions that are `online` (heard of within two heartbeats) or `late` (not, but not gone either).
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only sessions of this account.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Only sessions with a system of their own of this type, such as `p2p-system`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub sub_system_type: Option<String>,
    /// At most this many, 1 to 10,000; all (up to 10,000) unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse {
    /// When it was made, ISO 8601.
    pub generated_at: String,
    /// Sessions, ordered by agent_id, then session_tag.
    pub agents: Vec<AgentInfo>,
    /// Where the next page starts, when the answer would have exceeded `limit` or what NATS carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A system of an agent that is online. Not an answer of its own: clients read it out of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubSystemFound {
    /// The agent's account.
    pub account_id: String,
    /// The account's username.
    pub username: String,
    /// What it says about the system.
    pub sub_system: SubSystem,
    /// URLs under which it is reached, as far as it says.
    pub addresses: Vec<String>,
}

/// Body of `registry.search`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SearchRequest {
    /// Part of a username or display name, in any case.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub query: String,
    /// Only accounts with exactly this capability.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Only accounts with a system of their own of this type, such as `p2p-system`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub sub_system_type: Option<String>,
    /// At most this many, 1 to 100; 20 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only accounts with a session online.
    #[serde(default, deserialize_with = "lenient::truthy")]
    pub online_only: bool,
    /// Only accounts of this status (`active`, `suspended`, ...), or that are `online` / `offline`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// One account found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchResult {
    /// Routing identity.
    pub account_id: String,
    /// Unique name.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// What its last registered session can do.
    pub capabilities: Vec<String>,
    /// What its agents tell about themselves.
    pub metadata: Map<String, Value>,
    /// `public` or `private`.
    pub visibility: String,
    /// `active`, `suspended`, ...
    pub status: String,
    /// How many of its sessions are online.
    pub online_sessions: i64,
    /// Whether any is.
    pub online: bool,
}

/// Answer to search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchResponse {
    /// As asked.
    pub query: String,
    /// As asked.
    pub capability: Option<String>,
    /// As applied.
    pub limit: i64,
    /// As asked.
    pub online_only: bool,
    /// As asked; absent when not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Most sessions online first, then by username.
    pub results: Vec<SearchResult>,
    /// Whether rows within the limit were left out because they don't fit into one answer: ask for less, by name or
    /// capability. Absent when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.profile`; `account_id` wins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProfileRequest {
    /// The account's id.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account's username.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A session of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileSession {
    /// Identity of the process.
    pub session_tag: String,
    /// Its role label.
    pub agent_id: String,
    /// The registry that opened it.
    pub server_id: String,
    /// When it was opened, ISO 8601.
    pub connected_at: String,
    /// When the network last heard of it, ISO 8601.
    pub last_seen: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it tells about itself.
    pub metadata: Map<String, Value>,
}

/// One account in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// Routing identity.
    pub account_id: String,
    /// Unique name.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// What the account says about itself.
    pub bio: String,
    /// URL of a picture; absent when there is none. New here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub avatar_url: String,
    /// What its last registered session can do.
    pub capabilities: Vec<String>,
    /// What its agents tell about themselves.
    pub metadata: Map<String, Value>,
    /// `public` or `private`.
    pub visibility: String,
    /// `active`, `suspended`, ...
    pub status: String,
    /// ISO 8601.
    pub created_at: String,
    /// ISO 8601.
    pub updated_at: String,
    /// Newest last_seen first.
    pub online_sessions: Vec<ProfileSession>,
    /// Whether there is any.
    pub online: bool,
}

/// Answer to profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileResponse {
    /// The account.
    pub profile: Profile,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.list`.
    List, List, ListRequest, ListResponse
);
rpc!(
    /// `registry.search`.
    Search, Search, SearchRequest, SearchResponse
);
rpc!(
    /// `registry.profile`.
    GetProfile, Profile, ProfileRequest, ProfileResponse
);
