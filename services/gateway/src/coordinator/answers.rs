//! Errors with the fields of the seed (`detail`) and of its clients (`status`, `message`, `timestamp`), beside our code.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::ANONYMOUS;
use crate::{
    caller::AnonymousAs,
    http::{Problem, Shown},
};

/// The body of every answer of the coordinator that isn't what was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CoordinatorFault<'a> {
    /// Always `error`.
    status: &'static str,
    /// What happened and what to do about it.
    message: &'a str,
    /// The same.
    detail: &'a str,
    /// Stable code; programs match on it.
    code: &'a str,
    /// The field that can't be used, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Says for whom callers act who show nothing, and turns problems into the seed's shape.
pub(super) async fn as_the_seed(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(AnonymousAs(ANONYMOUS));
    let mut response = next.run(request).await;
    let Some(Shown(problem, timestamp)) = response.extensions_mut().remove::<Shown>() else {
        return response;
    };
    let body = CoordinatorFault {
        status: "error",
        message: &problem.detail,
        detail: &problem.detail,
        code: &problem.code,
        field: problem.field.as_deref(),
        timestamp,
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
    let (parts, _) = response.into_parts();
    (parts, Body::from(body)).into_response()
}

/// What the registry says can't be used is 422 here, as the seed has it.
pub(super) fn refused(error: agentnet::Error) -> Problem {
    let problem = Problem::from(error);
    if problem.code == "invalid_field" || problem.code == "invalid_status" {
        let detail = problem.detail;
        return Problem::new(agentnet_proto::ErrorCode::ValidationFailed, detail);
    }
    problem
}

/// 400 with the seed's words.
pub(super) fn invalid(what: &str, said: &str, valid: &[&str]) -> Problem {
    let detail = format!("Invalid {what}: {said}. Valid: {}", valid.join(", "));
    Problem::new(agentnet_proto::ErrorCode::InvalidField, detail)
}
