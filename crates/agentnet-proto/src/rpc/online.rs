//! Which of some accounts are online.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;

/// Most accounts that one request may name.
pub const MAX_ONLINE: usize = 256;

/// Body of `registry.online`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OnlineRequest {
    /// Account ids or usernames, at most 256.
    #[serde(default)]
    pub accounts: Vec<String>,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineAccount {
    /// As asked.
    pub asked: String,
    /// The account; absent when the network knows none of that id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Its username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Whether a session of it is online.
    pub online: bool,
    /// How many.
    pub sessions: i64,
    /// When the network last heard of one that is online, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// Answer to online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineResponse {
    /// One for each account asked about, in that order.
    pub accounts: Vec<OnlineAccount>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.online`.
    Online, Online, OnlineRequest, OnlineResponse
);
