//! Whether a token is good.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    app::App,
    caller::{Known, not_authenticated},
    http::Problem,
    rates::Class,
};

/// What a good token says.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenVerification {
    /// Always true: a token that isn't good is answered with 401.
    valid: bool,
    /// The username.
    user: String,
    /// The account.
    account_id: String,
    /// `user`, `agent` or `operator`.
    role: String,
    /// Always `access`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// From when on it is no good, seconds since 1970.
    exp: i64,
    /// When it was made, seconds since 1970.
    iat: i64,
    /// When this was true, ISO 8601.
    timestamp: String,
}

/// Whether the token is good
#[utoipa::path(post, path = "/api/auth/verify", tag = "auth",
    responses((status = 200, body = ref("#/components/schemas/TokenVerification"))))]
pub(crate) async fn verify(
    State(app): State<App>,
    Known { caller, user }: Known,
) -> Result<Json<TokenVerification>, Problem> {
    app.limits.check(Class::Verify, &caller.who)?;
    let (claims, _) = user.access.as_ref().ok_or_else(not_authenticated)?;
    Ok(Json(TokenVerification {
        valid: true,
        user: claims.username.clone(),
        account_id: claims.sub.clone(),
        role: claims.role.clone(),
        kind: "access",
        exp: claims.exp,
        iat: claims.iat,
        timestamp: app.now(),
    }))
}
