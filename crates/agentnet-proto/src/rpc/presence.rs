//! Register, hello, goodbye.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::lenient;

/// A session as others see it, and the body of `hello`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentInfo {
    /// The agent's role label.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub agent_id: String,
    /// Display name.
    #[serde(default, deserialize_with = "lenient::string")]
    pub name: String,
    /// What the agent can do.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub capabilities: Vec<String>,
    /// Anything the agent tells about itself.
    #[serde(default, deserialize_with = "lenient::object")]
    pub metadata: Map<String, Value>,
    /// Routing identity.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Unique name of the account.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Identity of this running process.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_tag: Option<String>,
    /// When the network last heard of it, ISO 8601.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Schema version the session speaks, from 1.2 on.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

/// Body of `registry.register`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RegisterRequest {
    /// The agent's role label; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub agent_id: String,
    /// Display name, kept exactly as it is; `agent_id` unless given.
    #[serde(default, deserialize_with = "lenient::string")]
    pub name: String,
    /// Wanted username; made from `agent_id` unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The account to join, when the agent knows it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// What the agent can do; replaces what the account had.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub capabilities: Vec<String>,
    /// Anything the agent tells about itself.
    #[serde(default, deserialize_with = "lenient::object")]
    pub metadata: Map<String, Value>,
    /// Whether the agent is a guest: somebody with a key that nobody keeps. A guest's username begins with `guest`; only
    /// guests get such names. New here.
    #[serde(default, deserialize_with = "lenient::truthy", skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
    /// Leave for a key that the network doesn't know, where it asks for one; new here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment_token: Option<super::EnrolmentToken>,
    /// `dev-ed25519-v1` signature over the register claims.
    #[serde(default, deserialize_with = "lenient::opt_object", skip_serializing_if = "Option::is_none")]
    pub auth: Option<Map<String, Value>>,
    /// Schema version the session speaks, from 1.2 on.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

/// Answer to register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegisterResponse {
    /// Routing identity.
    pub account_id: String,
    /// The username the account has now.
    pub username: String,
    /// Identity of the new session.
    pub session_tag: String,
    /// How often to say hello, in seconds.
    pub heartbeat_interval: f64,
    /// After how long without a hello the session counts as gone, in seconds.
    pub ttl_seconds: f64,
    /// Whether the account blocks anybody: its sessions ask whom before they take messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocks: bool,
    /// The account that brings tasks, from 1.2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_account: Option<String>,
    /// When the session was opened, ISO 8601.
    pub registered_at: String,
    /// Schema version of the registry, from 1.2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

/// Body of `registry.goodbye`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Goodbye {
    /// The agent's role label.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub agent_id: String,
    /// The session that ends.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub session_tag: String,
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "lenient::string")]
    pub seen_at: String,
}

rpc!(
    /// `registry.register`.
    Register, Register, RegisterRequest, RegisterResponse
);
