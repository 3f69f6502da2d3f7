//! Logging in, signing up, and the next token.

use agentnet_proto::{ErrorCode, rpc, secret_text::SecretText};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    http::{Body, Form, From, Problem},
    rates::{Class, Who},
};

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct LoginForm {
    /// The username.
    username: String,
    /// The password.
    password: SecretText,
}

/// What a login brings.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Token {
    /// Shows who a request comes from: `Authorization: Bearer <access_token>`.
    access_token: SecretText,
    /// Always `bearer`.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: i64,
    /// Brings the next access token, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<SecretText>,
    /// How long the refresh token is good, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_expires_in: Option<i64>,
}

impl Token {
    fn of(answer: rpc::LoginResponse) -> Self {
        Self {
            access_token: answer.access_token,
            token_type: "bearer",
            expires_in: answer.expires_in,
            refresh_token: answer.refresh_token,
            refresh_expires_in: answer.refresh_expires_in,
        }
    }
}

/// Log in
///
/// As a form, as the seed has it. After failed attempts the answer is slowed down, per username and per address, whether there
/// is such a user or not.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth",
    request_body(content = ref("#/components/schemas/LoginForm"), content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = ref("#/components/schemas/Token"))))]
pub(crate) async fn login(
    State(app): State<App>,
    From(peer): From,
    Form(form): Form<LoginForm>,
) -> Result<Json<Token>, Problem> {
    app.limits.check(Class::Login, &Who::at(peer))?;
    let request = rpc::UserLoginRequest {
        username: form.username,
        password: form.password,
        address: Some(peer.to_string()),
        ..rpc::UserLoginRequest::default()
    };
    match app.own.registry().call::<rpc::UserLogin>(&request).await {
        Ok(answer) => Ok(Json(Token::of(answer))),
        Err(error) if error.code() == ErrorCode::InvalidCredentials.as_str() => {
            Err(Problem::new(ErrorCode::InvalidCredentials, "Invalid credentials"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Who signs up.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct SignupBody {
    /// The username wanted.
    username: String,
    /// At least 8 characters.
    password: SecretText,
    /// Name for people; the username unless given.
    #[serde(default)]
    display_name: Option<String>,
}

/// Make an account for oneself, where the network lets people sign up
#[utoipa::path(post, path = "/api/auth/signup", tag = "auth",
    request_body = ref("#/components/schemas/SignupBody"),
    responses((status = 201, body = ref("#/components/schemas/UserRow"))))]
pub(crate) async fn signup(
    State(app): State<App>,
    From(peer): From,
    Body(body): Body<SignupBody>,
) -> Result<(StatusCode, Json<rpc::UserRow>), Problem> {
    app.limits.check(Class::Login, &Who::at(peer))?;
    let request = rpc::UserCreateRequest {
        username: body.username,
        password: body.password,
        display_name: body.display_name,
        signup: true,
        ..rpc::UserCreateRequest::default()
    };
    let answer = app.own.registry().call::<rpc::UserCreate>(&request).await?;
    Ok((StatusCode::CREATED, Json(answer.user)))
}

/// A refresh token.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RefreshBody {
    /// The refresh token of the last answer.
    refresh_token: SecretText,
}

/// The next access token
///
/// A refresh token is good once. One that is used again ends the whole login: somebody else may have it.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth",
    request_body = ref("#/components/schemas/RefreshBody"),
    responses((status = 200, body = ref("#/components/schemas/Token"))))]
pub(crate) async fn refresh(
    State(app): State<App>,
    From(peer): From,
    Body(body): Body<RefreshBody>,
) -> Result<Json<Token>, Problem> {
    app.limits.check(Class::Verify, &Who::at(peer))?;
    let request =
        rpc::UserRefreshRequest { refresh_token: body.refresh_token, ..rpc::UserRefreshRequest::default() };
    Ok(Json(Token::of(app.own.registry().call::<rpc::UserRefresh>(&request).await?)))
}
