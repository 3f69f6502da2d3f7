//! Questions over HTTP.

use agentnet_proto::{ErrorCode, blob::sanitise_file_name};
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest as _, Multipart, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{
    super::{P2pCall, P2pForm, files, p2p_query},
    Served,
};
use crate::{blobs::BlobSource, error::Error};

/// Most files of one question.
const MAX_FILES: usize = 16;

/// What an error is answered with: the seed's fields and the network's code.
pub(super) struct Refused(pub(super) Error);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.0.error_code().map_or(500, ErrorCode::http_status);
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"success": false, "message": self.0.detail(), "code": self.0.code()});
        (status, Json(body)).into_response()
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

fn refused(code: ErrorCode, detail: impl Into<String>) -> Refused {
    Refused(Error::of(code, detail))
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn check(served: &Served, headers: &HeaderMap) -> Result<(), Refused> {
    if served.gate.lets_in(bearer(headers)) {
        return Ok(());
    }
    Err(refused(ErrorCode::Unauthenticated, "show the agent's token: Authorization: Bearer <token>"))
}

fn media(headers: &HeaderMap) -> String {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A page of another origin can't send JSON without asking first, and nobody answers that question here.
async fn body(request: Request) -> Result<Value, Refused> {
    if media(request.headers()) != "application/json" {
        return Err(refused(
            ErrorCode::UnsupportedMediaType,
            "send JSON, with Content-Type: application/json",
        ));
    }
    let bytes =
        Bytes::from_request(request, &()).await.map_err(|error: BytesRejection| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                refused(ErrorCode::PayloadTooLarge, "the body is larger than the agent takes")
            }
            _ => refused(ErrorCode::InvalidField, "the body could not be read to its end"),
        })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| refused(ErrorCode::InvalidJson, format!("the body is not valid JSON: {error}")))
}

fn done(data: &Value) -> Response {
    Json(json!({"success": true, "data": data})).into_response()
}

pub(super) async fn health() -> Response {
    Json(json!({"status": "healthy", "service": "agentnet-p2p", "version": env!("CARGO_PKG_VERSION")}))
        .into_response()
}

pub(super) async fn api(State(served): State<Served>, request: Request) -> Result<Response, Refused> {
    check(&served, request.headers())?;
    let content = match media(request.headers()).as_str() {
        "multipart/form-data" => form(&served, request).await?,
        _ => body(request).await?,
    };
    Ok(done(&served.gate.ask(P2pCall::Api, content, served.blobs.clone()).await?))
}

pub(super) async fn estimate(State(served): State<Served>, request: Request) -> Result<Response, Refused> {
    check(&served, request.headers())?;
    let query = p2p_query(body(request).await?);
    Ok(done(&served.gate.ask(P2pCall::Estimate, query, served.blobs.clone()).await?))
}

/// A form whose files become the agent's own files of the network, as they come.
async fn form(served: &Served, mut request: Request) -> Result<Value, Refused> {
    request.extensions_mut().insert(axum::extract::DefaultBodyLimit::max(MAX_FILES * super::MAX_FILE));
    let unreadable =
        |detail: String| refused(ErrorCode::InvalidField, format!("the form can't be read: {detail}"));
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|error| unreadable(error.body_text()))?;
    let (mut form, mut blobs) = (P2pForm::default(), Vec::new());
    while let Some(part) = parts.next_field().await.map_err(|error| unreadable(error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let file = part.file_name().map(str::to_owned);
        let max =
            if file.is_some() { super::MAX_FILE } else { super::MAX_BODY - form.len().min(super::MAX_BODY) };
        let content_type = part.content_type().map(str::to_owned);
        let mut left = max;
        let bytes = Box::pin(part.map(move |chunk| match chunk {
            Ok(chunk) if chunk.len() <= left => {
                left -= chunk.len();
                Ok(chunk)
            }
            Ok(_) => {
                Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than the agent takes"))
            }
            Err(error) => Err(std::io::Error::other(error.body_text())),
        }));
        let Some(file) = file else {
            let mut bytes = bytes;
            let mut whole = Vec::new();
            while let Some(chunk) = bytes.next().await {
                whole.extend_from_slice(&chunk.map_err(|error| unreadable(error.to_string()))?);
            }
            form.field(name, whole)?;
            continue;
        };
        if blobs.len() == MAX_FILES {
            return Err(refused(ErrorCode::PayloadTooLarge, "at most 16 files come with one question"));
        }
        let mut put = served.blobs.put(BlobSource::reader(tokio_util::io::StreamReader::new(bytes)));
        put = put.expires_in(files::KEPT);
        if let Some(name) = sanitise_file_name(&file) {
            put = put.name(name);
        }
        if let Some(content_type) = content_type {
            put = put.content_type(content_type);
        }
        blobs.push((name, put.await?));
    }
    Ok(files::add(form.content()?, blobs)?)
}
