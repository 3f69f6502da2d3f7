//! The end of a login.

use agentnet_proto::{rpc, secret_text::SecretText};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    caller::{bearer, not_authenticated},
    http::{From, OptionalBody, Problem},
    rates::{Class, Who},
};

/// A refresh token, where the access token isn't shown.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct LogoutBody {
    /// The refresh token of the login that is to end.
    #[serde(default)]
    refresh_token: Option<SecretText>,
}

/// It has ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LoggedOut {
    /// Always `success`.
    status: &'static str,
    /// The same for people.
    message: &'static str,
}

/// Log out
///
/// Ends the login that the access token, or the refresh token of the body, belongs to: its tokens, its sockets, its keys.
/// An access token whose time is over will do.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth",
    request_body = ref("#/components/schemas/LogoutBody"),
    responses((status = 200, body = ref("#/components/schemas/LoggedOut"))))]
pub(crate) async fn logout(
    State(app): State<App>,
    From(peer): From,
    headers: axum::http::HeaderMap,
    OptionalBody(body): OptionalBody<LogoutBody>,
) -> Result<Json<LoggedOut>, Problem> {
    app.limits.check(Class::Verify, &Who::at(peer))?;
    let access_token = bearer(&headers).map(SecretText::new);
    if access_token.is_none() && body.refresh_token.is_none() {
        return Err(not_authenticated());
    }
    let request = rpc::UserLogoutRequest {
        access_token,
        refresh_token: body.refresh_token,
        ..rpc::UserLogoutRequest::default()
    };
    let ended = app.own.registry().call::<rpc::UserLogout>(&request).await?;
    app.seats.end(&ended.sid).await;
    Ok(Json(LoggedOut { status: "success", message: "Logged out" }))
}
