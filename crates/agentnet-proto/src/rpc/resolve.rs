//! Username to account, account to key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyRow, rpc};
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
    /// Whether keys that ended are wanted too, from 1.2 on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// Whether this key speaks for the account: it is answered if it does, be it one that a login bound; the account's own
    /// is answered else.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Whether the account may serve this capability, from 1.2 on. An account without a key is answered then too, with an
    /// empty one.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
}

/// Answer to resolve_key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolveKeyResponse {
    /// Routing identity.
    pub account_id: String,
    /// ed25519 public key, base64url without padding; empty when only the history has keys.
    pub public_key: String,
    /// When it was made, ISO 8601.
    pub resolved_at: String,
    /// Until when the key speaks for the account, ISO 8601; absent for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether the account is locked out: what it says now doesn't count. Absent when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Whether the account may serve the capability that was asked about: it registered it, and was granted it where that
    /// is restricted. Absent when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<bool>,
    /// Every key the account has and had, latest first, where the history was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRow>,
}

rpc!(
    /// `registry.resolve_account`.
    ResolveAccount, ResolveAccount, ResolveAccountRequest, ResolveAccountResponse
);
rpc!(
    /// `registry.resolve_key`.
    ResolveKey, ResolveKey, ResolveKeyRequest, ResolveKeyResponse
);
