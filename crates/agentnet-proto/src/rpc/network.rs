//! What a client has to know about a network before it can sign anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::security::Security;

/// Body of `registry.network`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkRequest {}

/// Answer to network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkResponse {
    /// The network's name, which every signature covers.
    pub deployment: String,
    /// Its security mode.
    pub security: Security,
    /// In secure mode: the shortest time, in seconds, that a connection is let in for. Clients make the next one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_seconds: Option<f64>,
    /// Schema version of the registry.
    pub schema_version: String,
    /// Whom the caller speaks for, as far as the network can tell: in secure mode the account of the connection's
    /// key, `null` while that is bound to none.
    #[serde(default)]
    pub account: Option<CallerAccount>,
}

/// The account that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallerAccount {
    /// Routing identity.
    pub account_id: String,
    /// Unique name.
    pub username: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
}

rpc!(
    /// `registry.network`.
    Network, Network, NetworkRequest, NetworkResponse
);
