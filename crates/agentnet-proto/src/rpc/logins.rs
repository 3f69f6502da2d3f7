//! Logging in: the gateway shows what a person or machine gave it, and has its ephemeral key bound to their account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::{lenient, secret_text::SecretText};

/// Body of `registry.user_login`, by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserLoginRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Who wants in; normalised by the registry.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub username: String,
    /// Their password.
    #[serde(default)]
    pub password: SecretText,
    /// The ephemeral ed25519 key that the gateway made for this login: an nkey (`U...`), or base64url. Without one
    /// nothing is bound: `user_session` binds what the client comes to need.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The client's IP address, for throttling.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Answer to user_login, user_refresh and api_key_login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoginResponse {
    /// The account that the session key speaks for now.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// `user`, `agent` or `operator`.
    pub role: String,
    /// Proves the login to any gateway; a JWT, see `docs/PROTOCOL.md`.
    pub access_token: SecretText,
    /// How long the access token is good, in seconds.
    pub expires_in: i64,
    /// Brings the next access token, once; absent for logins with an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<SecretText>,
    /// How long the refresh token is good, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_expires_in: Option<i64>,
    /// What the API key may be used for; absent for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Until when the session key speaks for the account, ISO 8601; absent where none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<String>,
}

/// Body of `registry.user_refresh`, by the gateway. A refresh token that was used before ends the whole login.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserRefreshRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The refresh token.
    #[serde(default)]
    pub refresh_token: SecretText,
    /// As at user_login; the key of the login so far, which then lasts longer, or another one.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
}

/// Body of `registry.user_logout`, by the gateway: ends the login that one of the tokens belongs to, with all its keys. An
/// access token that has expired will do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserLogoutRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<SecretText>,
    /// Or the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretText>,
}

/// Answer to user_logout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserLogoutResponse {
    /// The account whose login ended.
    pub account_id: String,
    /// The login that ended, as its access tokens name it.
    #[serde(default)]
    pub sid: String,
    /// Session keys that speak for it no more because of this request.
    pub ended_keys: i64,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.user_session`, by the gateway: binds a key of another gateway to a login whose access token is good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserSessionRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The access token.
    #[serde(default)]
    pub access_token: SecretText,
    /// The key, as at user_login. It may be left out in open mode only, where keys mean nothing.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
}

/// Answer to user_session and ws_ticket_redeem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSessionResponse {
    /// The account that the session key speaks for now.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// `user`, `agent` or `operator`.
    pub role: String,
    /// The account's kind: `agent` or `human`.
    #[serde(default)]
    pub kind: String,
    /// What the login may be used for; absent for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Until when the session key speaks for the account, ISO 8601; absent where none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<String>,
    /// An access token of the login that a ticket belongs to, for the gateway to go on with; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretText>,
}

/// Body of `registry.ws_ticket_create`, by the gateway: a ticket that opens one WebSocket, at any gateway, within 30 s.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WsTicketCreateRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The access token.
    #[serde(default)]
    pub access_token: SecretText,
}

/// Answer to ws_ticket_create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WsTicketCreateResponse {
    /// The ticket, good once.
    pub ticket: SecretText,
    /// How long it is good, in seconds.
    pub expires_in: i64,
}

/// Body of `registry.ws_ticket_redeem`, by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WsTicketRedeemRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The ticket.
    #[serde(default)]
    pub ticket: SecretText,
    /// As at user_login.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
}

/// Body of `registry.token_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenKeysRequest {}

/// A key that access tokens verify with, in the shape of a JSON Web Key (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenKey {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Names the key in the head of a token: its thumbprint (RFC 7638).
    pub kid: String,
    /// The public key, base64url without padding.
    pub x: String,
    /// From when on no token verifies with it any more, ISO 8601.
    pub not_after: String,
}

/// Answer to token_keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenKeysResponse {
    /// `iss` of the network's tokens: its name.
    pub issuer: String,
    /// The latest first.
    pub keys: Vec<TokenKey>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.user_login`.
    UserLogin, UserLogin, UserLoginRequest, LoginResponse
);
rpc!(
    /// `registry.user_refresh`.
    UserRefresh, UserRefresh, UserRefreshRequest, LoginResponse
);
rpc!(
    /// `registry.user_logout`.
    UserLogout, UserLogout, UserLogoutRequest, UserLogoutResponse
);
rpc!(
    /// `registry.user_session`.
    UserSession, UserSession, UserSessionRequest, UserSessionResponse
);
rpc!(
    /// `registry.ws_ticket_create`.
    WsTicketCreate, WsTicketCreate, WsTicketCreateRequest, WsTicketCreateResponse
);
rpc!(
    /// `registry.ws_ticket_redeem`.
    WsTicketRedeem, WsTicketRedeem, WsTicketRedeemRequest, UserSessionResponse
);
rpc!(
    /// `registry.token_keys`.
    TokenKeys, TokenKeys, TokenKeysRequest, TokenKeysResponse
);
