//! Putting files.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet::BlobSource;
use agentnet_proto::{ErrorCode, rpc::BlobInfo};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::io::StreamReader;
use utoipa::IntoParams;

use super::get::tag;
use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem, Query},
    rates::Class,
    seats::Seat,
};

/// What is said about a file beside its bytes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Said {
    /// Its name; none unless given.
    filename: Option<String>,
    /// For how long it is kept, in seconds; the network's own time unless given, and at most that.
    #[param(minimum = 1)]
    expires_in_seconds: Option<u64>,
}

/// For how long a named file is kept.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Kept {
    /// In seconds; the network's own time unless given, and at most that.
    #[param(minimum = 1)]
    expires_in_seconds: Option<u64>,
}

/// Put a file
///
/// The body is the file; its `Content-Type` is the file's, by the name's extension unless given. The file is there once this
/// is answered.
#[utoipa::path(post, path = "/api/blobs", tag = "blobs", params(Said),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ref("#/components/schemas/BlobInfo"),
        headers(("Location" = String, description = "Where it is."), ("ETag" = String, description = "Its SHA-256.")))))]
pub(crate) async fn post(
    State(app): State<App>,
    caller: Caller,
    Query(said): Query<Said>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    take(&app, &caller, said.filename, said.expires_in_seconds, &headers, body).await
}

/// Put a file under a name
///
/// As `POST /api/blobs`. The same content under the same name is the same file, put once.
#[utoipa::path(put, path = "/api/blobs/named/{filename}", tag = "blobs",
    params(("filename" = String, Path, description = "Its name: no path, no device."), Kept),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ref("#/components/schemas/BlobInfo"),
        headers(("Location" = String, description = "Where it is."), ("ETag" = String, description = "Its SHA-256.")))))]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Parts(filename): Parts<String>,
    Query(kept): Query<Kept>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    take(&app, &caller, Some(filename), kept.expires_in_seconds, &headers, body).await
}

async fn take(
    app: &App,
    caller: &Caller,
    filename: Option<String>,
    expires_in_seconds: Option<u64>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.pass(app, Class::Message)?;
    if expires_in_seconds == Some(0) {
        return Err(Problem::field("expires_in_seconds", "1 or more"));
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // Refused before it is sent, where it says how much it is.
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > app.config.http.max_blob) {
        return Err(too_large(app.config.http.max_blob));
    }
    let coming = Coming {
        filename: filename.filter(|name| !name.is_empty()),
        content_type: text(header::CONTENT_TYPE).map(str::to_owned),
        expires_in: expires_in_seconds.map(Duration::from_secs),
    };
    let bytes = body.into_data_stream().map(|chunk| {
        chunk.map_err(|_| {
            Problem::new(ErrorCode::InvalidField, "the request's body could not be read to its end")
        })
    });
    let info = upload(app, &caller.seat, coming, bytes).await?;
    let mut answer = (StatusCode::CREATED, Json(&info)).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, tag(&info));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/blobs/{}", info.blob_id)) {
        headers.insert(header::LOCATION, location);
    }
    Ok(answer)
}

/// A file that comes in.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    /// Its name.
    pub(crate) filename: Option<String>,
    /// Its content type; by the name unless given.
    pub(crate) content_type: Option<String>,
    /// For how long it is kept.
    pub(crate) expires_in: Option<Duration>,
}

/// Puts what a stream brings, as it comes. It is limited in size, and in how long nothing may come.
pub(crate) async fn upload(
    app: &App,
    seat: &Seat,
    coming: Coming,
    bytes: impl Stream<Item = Result<Bytes, Problem>> + Send + Unpin,
) -> Result<BlobInfo, Problem> {
    let rules = &app.config.http;
    // A reader can only fail with an I/O error; why is kept beside it.
    let why = Arc::new(Mutex::new(None));
    let reader = {
        let why = Arc::clone(&why);
        let (max, idle) = (rules.max_blob, rules.transfer_idle);
        let state = (bytes, 0_u64);
        Box::pin(stream::unfold(state, move |(mut bytes, mut size)| {
            let why = Arc::clone(&why);
            async move {
                let failed = |problem: Problem| {
                    *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
                    Err(io::Error::other("the client's body"))
                };
                let item = match timeout(idle, bytes.next()).await {
                    Ok(None) => return None,
                    Ok(Some(Ok(chunk))) => {
                        size += chunk.len() as u64;
                        if size > max { failed(too_large(max)) } else { Ok(chunk) }
                    }
                    Ok(Some(Err(problem))) => failed(problem),
                    Err(_) => {
                        failed(Problem::new(ErrorCode::Timeout, "nothing of the file came for too long"))
                    }
                };
                Some((item, (bytes, size)))
            }
        }))
    };
    let mut put = seat.node.blobs().put(BlobSource::reader(StreamReader::new(reader)));
    if let Some(name) = coming.filename {
        put = put.name(name);
    }
    if let Some(content_type) = coming.content_type {
        put = put.content_type(content_type);
    }
    if let Some(time) = coming.expires_in {
        put = put.expires_in(time);
    }
    match put.await {
        Ok(info) => Ok(info),
        Err(error) => {
            let own = why.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(own.unwrap_or_else(|| error.into()))
        }
    }
}

fn too_large(max: u64) -> Problem {
    Problem::new(
        ErrorCode::BlobTooLarge,
        format!("the file is larger than the {max} bytes that the gateway takes"),
    )
}
