//! Keys for machines.

use agentnet_proto::{rpc, secret_text::SecretText};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    caller::Known,
    http::{Body, Parts, Problem},
    rates::Class,
};

/// What a key for machines may be used for.
const MANAGE: &str = "manage";

/// An API key to make.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NewApiKey {
    /// For people, 1 to 128 characters.
    name: String,
    /// Of `read`, `send` and `manage`; all of them unless given.
    #[serde(default)]
    scopes: Vec<String>,
    /// Until when it is good, ISO 8601; for ever unless given.
    #[serde(default)]
    expires_at: Option<String>,
}

/// An API key that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewApiKeyMade {
    /// The key: `Authorization: Bearer ank_...` or `X-API-Key`. It isn't shown again.
    api_key: SecretText,
    /// What is kept of it.
    key: rpc::ApiKeyRow,
}

/// An account's API keys.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ApiKeyList {
    /// The latest first.
    keys: Vec<rpc::ApiKeyRow>,
}

/// The account's API keys
#[utoipa::path(get, path = "/api/auth/keys", tag = "auth",
    responses((status = 200, body = ref("#/components/schemas/ApiKeyList"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Known { caller, user }: Known,
) -> Result<Json<ApiKeyList>, Problem> {
    caller.may(MANAGE)?;
    app.limits.check(Class::Query, &caller.who)?;
    let request = rpc::ApiKeyListRequest {
        account_id: Some(user.account_id.clone()),
        ..rpc::ApiKeyListRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::ApiKeyList>(&request).await?;
    Ok(Json(ApiKeyList { keys: answer.keys }))
}

/// Make an API key
#[utoipa::path(post, path = "/api/auth/keys", tag = "auth",
    request_body = ref("#/components/schemas/NewApiKey"),
    responses((status = 201, body = ref("#/components/schemas/NewApiKeyMade"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Known { caller, user }: Known,
    Body(new): Body<NewApiKey>,
) -> Result<(StatusCode, Json<NewApiKeyMade>), Problem> {
    caller.may(MANAGE)?;
    app.limits.check(Class::Create, &caller.who)?;
    let request = rpc::ApiKeyCreateRequest {
        account_id: Some(user.account_id.clone()),
        name: new.name,
        scopes: new.scopes,
        expires_at: new.expires_at,
        ..rpc::ApiKeyCreateRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::ApiKeyCreate>(&request).await?;
    Ok((StatusCode::CREATED, Json(NewApiKeyMade { api_key: answer.api_key, key: answer.key })))
}

/// Take an API key out of use
#[utoipa::path(delete, path = "/api/auth/keys/{key_id}", tag = "auth",
    params(("key_id" = String, Path, description = "The key's id.")),
    responses((status = 200, body = ref("#/components/schemas/ApiKeyRow"))))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Known { caller, user }: Known,
    Parts(key_id): Parts<String>,
) -> Result<Json<rpc::ApiKeyRow>, Problem> {
    caller.may(MANAGE)?;
    app.limits.check(Class::Create, &caller.who)?;
    let request = rpc::ApiKeyRevokeRequest { account_id: Some(user.account_id.clone()), key_id };
    let answer = caller.seat.node.registry().call::<rpc::ApiKeyRevoke>(&request).await?;
    Ok(Json(answer.key))
}
