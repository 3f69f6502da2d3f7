//! Extractors whose refusals name the field.

use std::{convert::Infallible, error::Error, net::IpAddr};

use agentnet_proto::ErrorCode;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{StatusCode, header, request},
};
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutError;

use super::Problem;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // A page of another origin can send anything else without asking first.
        if !is_json(&request) {
            return Err(Problem::new(
                ErrorCode::UnsupportedMediaType,
                "send the body as JSON, with Content-Type: application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        json(&bytes).map(Self)
    }
}

/// A JSON body, or none.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let wants_json = is_json(&request);
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        match (bytes.is_empty(), wants_json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => json(&bytes).map(Self),
            (false, false) => Err(Problem::of(ErrorCode::UnsupportedMediaType)),
        }
    }
}

/// A form.
pub(crate) struct Form<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if essence(&request).as_deref() != Some("application/x-www-form-urlencoded") {
            let detail = "send the body as a form, with Content-Type: application/x-www-form-urlencoded";
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        form(&bytes).map(Self)
    }
}

/// The address of the client's end.
pub(crate) struct From(pub(crate) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(crate::caller::address(parts)))
    }
}

pub(crate) fn unreadable(rejection: BytesRejection) -> Problem {
    let mut cause: Option<&dyn Error> = Some(&rejection);
    while let Some(error) = cause {
        if error.is::<TimeoutError>() {
            return Problem::of(ErrorCode::RequestTimeout);
        }
        cause = error.source();
    }
    let status = axum::response::IntoResponse::into_response(rejection).status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(
            ErrorCode::PayloadTooLarge,
            "the request's body is larger than the gateway takes",
        );
    }
    Problem::new(ErrorCode::InvalidField, "the request's body could not be read to its end")
}

fn is_json(request: &Request) -> bool {
    essence(request).is_some_and(|essence| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// The media type without its parameters.
fn essence(request: &Request) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// JSON read as `T`: 400 for what is no JSON, 422 with the field for what has another shape.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match cause.classify() {
            serde_json::error::Category::Data => {
                let text = cause.to_string();
                misshapen(&path, text.split(" at line ").next().unwrap_or(&text))
            }
            _ => Problem::new(ErrorCode::InvalidJson, format!("the body is not valid JSON: {cause}")),
        }
    })?;
    reader.end().map_err(|cause| {
        Problem::new(ErrorCode::InvalidJson, format!("the body is not valid JSON: {cause}"))
    })?;
    Ok(value)
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Problem> {
        form(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// A form read as `T`.
pub(crate) fn form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(pairs)
        .map_err(|error| misshapen(&error.path().to_string(), &error.inner().to_string()))
}

/// The parts of the path.
pub(crate) struct Parts<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Parts<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::field("path", rejection.body_text())),
        }
    }
}

/// serde says which field is missing in its text only.
fn misshapen(path: &str, text: &str) -> Problem {
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let path = if path == "." { "" } else { path };
    match missing {
        Some(name) if path.is_empty() => Problem::field(name, "the field is required"),
        Some(name) if path.ends_with(name) => Problem::field(path, "the field is required"),
        Some(name) => Problem::field(format!("{path}.{name}"), "the field is required"),
        None => Problem::field(path, text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read into")]
    struct Agent {
        provider: String,
        limit: Option<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read into")]
    struct Whole {
        agents: BTreeMap<String, Agent>,
    }

    fn at(text: &str) -> (u16, Option<String>) {
        let problem = json::<Whole>(text.as_bytes()).unwrap_err();
        (problem.status.as_u16(), problem.field)
    }

    #[test]
    fn the_field_at_fault_is_named() {
        assert_eq!(at("{}"), (422, Some("agents".into())));
        assert_eq!(at(r#"{"agents":{"primary":{}}}"#), (422, Some("agents.primary.provider".into())));
        assert_eq!(
            at(r#"{"agents":{"primary":{"provider":3}}}"#),
            (422, Some("agents.primary.provider".into()))
        );
        assert_eq!(at("[]"), (422, None));
        assert_eq!(at("{"), (400, None));
        assert_eq!(at(r#"{"agents":{}} x"#), (400, None));
        let problem = form::<Agent>(b"limit=300&provider=x").unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("limit"));
        assert_eq!(form::<Agent>(b"").unwrap_err().field.as_deref(), Some("provider"));
        assert_eq!(form::<Agent>(b"provider=a%20b&limit=3").unwrap().provider, "a b");
    }
}
