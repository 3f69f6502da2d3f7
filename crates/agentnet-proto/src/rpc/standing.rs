//! What accounts may do on the network: operators, and who is locked out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Body of `registry.operator_grant`, `.operator_revoke`, `.suspend` and `.resume`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StandingRequest {
    /// Who asks; may be left out where the network proves it, and in open mode, where anybody may.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account to change, by its id or username; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub target: String,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountStanding {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
    /// `active` or `suspended`.
    pub status: String,
    /// Whether it is an operator because the registry's configuration names its key: no request takes that away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub configured: bool,
}

/// Answer to requests that change how an account stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandingResponse {
    /// How it stands now.
    pub account: AccountStanding,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.operator_list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OperatorListRequest {}

/// Answer to operator_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorListResponse {
    /// The operators by username, at most 1000.
    pub operators: Vec<AccountStanding>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.operator_grant`.
    OperatorGrant, OperatorGrant, StandingRequest, StandingResponse
);
rpc!(
    /// `registry.operator_revoke`.
    OperatorRevoke, OperatorRevoke, StandingRequest, StandingResponse
);
rpc!(
    /// `registry.operator_list`.
    OperatorList, OperatorList, OperatorListRequest, OperatorListResponse
);
rpc!(
    /// `registry.suspend`.
    Suspend, Suspend, StandingRequest, StandingResponse
);
rpc!(
    /// `registry.resume`.
    Resume, Resume, StandingRequest, StandingResponse
);
