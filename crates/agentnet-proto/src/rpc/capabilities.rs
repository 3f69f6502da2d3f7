//! Who may serve which capability.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Body of `registry.capability_restrict`, by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityRestrictRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The capability; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub capability: String,
    /// True opens it again, and forgets its grants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

/// Body of `registry.capability_grant` and `.capability_revoke`, by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityGrantRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// A restricted capability; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub capability: String,
    /// The account, by its id or username; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub target: String,
}

/// Body of `registry.capability_list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityListRequest {}

/// A restricted capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestrictedCapability {
    /// Its name.
    pub capability: String,
    /// Accounts that may serve it.
    pub granted: Vec<String>,
}

/// Answer to every request about restricted capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityListResponse {
    /// The restricted capabilities by name, at most 1000; of a change the one that changed, or none when it is open now.
    pub restricted: Vec<RestrictedCapability>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.capability_restrict`.
    CapabilityRestrict, CapabilityRestrict, CapabilityRestrictRequest, CapabilityListResponse
);
rpc!(
    /// `registry.capability_grant`.
    CapabilityGrant, CapabilityGrant, CapabilityGrantRequest, CapabilityListResponse
);
rpc!(
    /// `registry.capability_revoke`.
    CapabilityRevoke, CapabilityRevoke, CapabilityGrantRequest, CapabilityListResponse
);
rpc!(
    /// `registry.capability_list`.
    CapabilityList, CapabilityList, CapabilityListRequest, CapabilityListResponse
);
