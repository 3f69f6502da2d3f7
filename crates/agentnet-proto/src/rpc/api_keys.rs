//! API keys: how machines come in over HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LoginResponse, rpc};
use crate::{lenient, secret_text::SecretText};

/// What an API key may be used for. The gateway holds the connection and asks for it on every request.
pub const API_KEY_SCOPES: [&str; 3] = ["read", "send", "manage"];

/// Body of `registry.api_key_create`, for one's own account, or by an operator for any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyCreateRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account it is for, by its id or username; the one that asks unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For people, 1 to 128 characters.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub name: String,
    /// Of `read` (history, discovery, streams), `send` (messages) and `manage` (the account itself); all of them unless
    /// given.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Until when it is good, ISO 8601; for ever unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// An API key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyRow {
    /// Names the key; no secret.
    pub key_id: String,
    /// The account it speaks for.
    pub account_id: String,
    /// For people.
    pub name: String,
    /// What it may be used for; empty for everything.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it was made, ISO 8601.
    pub created_at: String,
    /// Until when it is good, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was used last, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// When it was revoked, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

/// Answer to api_key_create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyCreateResponse {
    /// The key, `ank_...`. The network keeps its hash only: it isn't shown again.
    pub api_key: SecretText,
    /// What is kept of it.
    pub key: ApiKeyRow,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.api_key_list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyListRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account whose keys are wanted, by its id or username; the one that asks unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Answer to api_key_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyListResponse {
    /// The account's keys, the latest first, at most 200.
    pub keys: Vec<ApiKeyRow>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.api_key_revoke`, by the key's account or an operator. Logins with the key end at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyRevokeRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The key; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub key_id: String,
}

/// Answer to api_key_revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyRevokeResponse {
    /// The key as it stands now.
    pub key: ApiKeyRow,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.api_key_login`, by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyLoginRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The API key.
    #[serde(default)]
    pub api_key: SecretText,
    /// As at user_login.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The client's IP address, for throttling.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

rpc!(
    /// `registry.api_key_create`.
    ApiKeyCreate, ApiKeyCreate, ApiKeyCreateRequest, ApiKeyCreateResponse
);
rpc!(
    /// `registry.api_key_list`.
    ApiKeyList, ApiKeyList, ApiKeyListRequest, ApiKeyListResponse
);
rpc!(
    /// `registry.api_key_revoke`.
    ApiKeyRevoke, ApiKeyRevoke, ApiKeyRevokeRequest, ApiKeyRevokeResponse
);
rpc!(
    /// `registry.api_key_login`.
    ApiKeyLogin, ApiKeyLogin, ApiKeyLoginRequest, LoginResponse
);
