//! Files that come with a question: each becomes a file of the network, which the agent may read.

use std::time::Duration;

use agentnet::P2pForm;
use agentnet_proto::{ErrorCode, blob::sanitise_file_name, rpc::BlobInfo};
use axum::{
    extract::{FromRequest as _, Multipart, Request, multipart::MultipartError},
    http::header,
};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::{
    app::App,
    blobs::{self, Coming},
    http::Problem,
    seats::Seat,
};

/// How long such files are kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most files of one question.
const MAX_FILES: usize = 16;

pub(super) fn is_multipart(request: &Request) -> bool {
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media.is_some_and(|media| media.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// The content, and the files by the names of their parts, which are put by the time this returns.
pub(super) async fn read(
    app: &App,
    seat: &Seat,
    mut request: Request,
) -> Result<(Value, Vec<(String, BlobInfo)>), Problem> {
    // Each part has its own limit.
    request.extensions_mut().insert(axum::extract::DefaultBodyLimit::disable());
    let mut parts = Multipart::from_request(request, app).await.map_err(|error| {
        Problem::new(ErrorCode::InvalidField, format!("the body is no multipart form: {}", error.body_text()))
    })?;
    let (mut form, mut files) = (P2pForm::default(), Vec::new());
    let max = app.config.http.max_body;
    while let Some(mut part) = parts.next_field().await.map_err(|error| unreadable(&error))? {
        let name = part.name().unwrap_or_default().to_owned();
        let Some(file_name) = part.file_name().map(str::to_owned) else {
            let mut bytes = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(|error| unreadable(&error))? {
                if bytes.len() + chunk.len() + form.len() > max {
                    return Err(Problem::new(
                        ErrorCode::PayloadTooLarge,
                        "the form's fields are larger than the gateway takes",
                    ));
                }
                bytes.extend_from_slice(&chunk);
            }
            form.field(name, bytes).map_err(|error| Problem::field("data", error.detail()))?;
            continue;
        };
        if files.len() == MAX_FILES {
            return Err(Problem::new(ErrorCode::PayloadTooLarge, "at most 16 files come with one question"));
        }
        let coming = Coming {
            filename: sanitise_file_name(&file_name),
            content_type: part.content_type().map(str::to_owned),
            expires_in: Some(KEPT),
        };
        let bytes = part.map(|chunk| chunk.map_err(|error| unreadable(&error)));
        let info = blobs::upload(app, seat, coming, bytes).await?;
        files.push((name, info));
    }
    let content = form.content().map_err(|error| Problem::field("data", error.detail()))?;
    Ok((content, files))
}

fn unreadable(error: &MultipartError) -> Problem {
    Problem::new(ErrorCode::InvalidField, format!("the form can't be read: {}", error.body_text()))
}
