//! Username to account, account to key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Body of `registry.resolve_account`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResolveAccountRequest {
    /// A username; normalised by the registry, so `@Name` works.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub username: String,
}

/// Answer to resolve_account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolveAccountResponse {
    /// Routing identity.
    pub account_id: String,
    /// Unique name.
    pub username: String,
    /// When it was made, ISO 8601.
    pub resolved_at: String,
}

/// Body of `registry.resolve_key`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResolveKeyRequest {
    /// Routing identity.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub account_id: String,
}

/// Answer to resolve_key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolveKeyResponse {
    /// Routing identity.
    pub account_id: String,
    /// ed25519 public key, base64url without padding.
    pub public_key: String,
    /// When it was made, ISO 8601.
    pub resolved_at: String,
}

rpc!(
    /// `registry.resolve_account`.
    ResolveAccount, ResolveAccount, ResolveAccountRequest, ResolveAccountResponse
);
rpc!(
    /// `registry.resolve_key`.
    ResolveKey, ResolveKey, ResolveKeyRequest, ResolveKeyResponse
);
