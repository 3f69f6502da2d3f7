//! Errors as problem details (RFC 9457) with the fields of the seed: `detail`, `code`, `timestamp`.

use std::{borrow::Cow, time::Duration};

use agentnet::ErrorKind;
use agentnet_proto::{Clock as _, ErrorCode, SystemClock};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Media type of problem details.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a request failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) detail: String,
    pub(crate) field: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

/// The problem that an answer is made of, for faces whose errors have another shape; with the time it says.
#[derive(Debug, Clone)]
pub(crate) struct Shown(pub(crate) Problem, pub(crate) String);

/// The body of every answer that isn't what was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProblemBody<'a> {
    /// Always `about:blank`: the code says what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do about it.
    detail: &'a str,
    /// Stable code; programs match on it.
    code: &'a str,
    /// When, ISO 8601.
    timestamp: String,
    /// The field of the body, query or path that can't be used, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// A problem of a code, with the code's status.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            code: Cow::Borrowed(code.as_str()),
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// The code's own meaning.
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self::new(code, code.meaning().trim())
    }

    /// A field that can't be used.
    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = field.into();
        let detail = detail.into();
        let detail = if field.is_empty() { detail } else { format!("{field}: {detail}") };
        Self { field: (!field.is_empty()).then_some(field), ..Self::new(ErrorCode::ValidationFailed, detail) }
    }

    /// Too many requests.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let detail = format!("Too Many Requests: try again in {} s", whole_seconds(wait));
        Self { retry_after: Some(wait), ..Self::new(ErrorCode::RateLimited, detail) }
    }
}

pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::of(code)
    }
}

impl From<agentnet::Error> for Problem {
    fn from(error: agentnet::Error) -> Self {
        // The keys the gateway acts with are those of logins: one that counts no more means that its login has ended.
        if error.error_code() == Some(ErrorCode::AuthPublicKeyMismatch) {
            return Self::of(ErrorCode::LoginEnded);
        }
        let status = match error.error_code() {
            Some(code) => code.http_status(),
            None => match error.kind() {
                ErrorKind::NotFound => 404,
                ErrorKind::Auth => 403,
                ErrorKind::RegistryFailed => 503,
                _ => 502,
            },
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        if status.is_server_error() {
            // The cause goes to the log, once; the outside learns what to do.
            tracing::warn!(cause = agentnet_service::chain(&error), "a request failed inside the network");
        }
        Self {
            status,
            code: Cow::Owned(error.code().to_owned()),
            detail: error.detail().to_owned(),
            field: None,
            retry_after: error.retry_after(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let timestamp = SystemClock.now().to_string();
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            timestamp: timestamp.clone(),
            field: self.field.as_deref(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
        }
        response.extensions_mut().insert(Shown(self, timestamp));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(6)), 6);
        let response = Problem::too_many(Duration::from_millis(5_100)).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "6");
    }
}
