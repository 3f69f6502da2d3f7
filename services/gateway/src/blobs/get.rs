//! Getting files, whole or in part.

use std::time::Duration;

use agentnet_proto::{ErrorCode, rpc::BlobInfo};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{sync::watch, time::timeout};
use tokio_util::io::ReaderStream;

use super::range::{Wanted, wanted};
use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem, Raw},
    rates::Class,
    seats::Seat,
};

/// Bytes that may wait between the network and a client that reads slowly.
const BUFFER: usize = 256 * 1024;
/// What may stand in `filename*` as it is (RFC 8187).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file, or a part of it
///
/// Understands `Range`, `If-Range` and `If-None-Match`; the tag is the file's SHA-256. Always to be saved, never shown by a
/// browser as a page of this origin.
#[utoipa::path(method(get, head), path = "/api/blobs/{blob_id}", tag = "blobs",
    params(("blob_id" = String, Path, description = "The file."),
        ("Range" = Option<String>, Header, description = "One range of bytes; several mean everything."),
        ("If-None-Match" = Option<String>, Header, description = "A tag that the client has already.")),
    responses((status = 200, description = "Everything.", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "The range.", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "The client has it already.")))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Parts(blob_id): Parts<String>,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    caller.pass(&app, Class::Read)?;
    let info = caller.seat.node.blobs().head(&blob_id).await?;
    let etag = tag(&info);
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| has(tags, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    // A range of what it was before is no use.
    let is_same = asked.get(header::IF_RANGE).is_none_or(|tag| *tag == etag);
    let size = info.size_bytes;
    let (status, first, end) = match wanted(text(header::RANGE).filter(|_| is_same), size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part(first, end) => (StatusCode::PARTIAL_CONTENT, first, end),
        Wanted::Nowhere => {
            let detail = format!("the file has {size} bytes; the range lies beyond them");
            let mut refused = Problem::new(ErrorCode::BlobBadRange, detail).into_response();
            insert(&mut refused, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(refused);
        }
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        content(&app, &caller.seat, &info.blob_id, first, end - first)
    };
    let mut answer = (status, body).into_response();
    answer.extensions_mut().insert(Raw);
    insert(&mut answer, header::CONTENT_LENGTH, &(end - first).to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        insert(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{}/{size}", end - 1));
    }
    insert(&mut answer, header::CONTENT_TYPE, &info.mime_type);
    insert(&mut answer, header::CONTENT_DISPOSITION, &disposition(&info));
    insert(&mut answer, header::ACCEPT_RANGES, "bytes");
    insert(&mut answer, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    // What stands under an id never changes; who may read it does.
    insert(&mut answer, header::CACHE_CONTROL, "private, no-cache");
    answer.headers_mut().insert(header::ETAG, etag);
    Ok(answer)
}

/// What has no place in a header is left out.
fn insert(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// The tag of a file's content.
pub(super) fn tag(info: &BlobInfo) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", info.sha256)).unwrap_or(HeaderValue::from_static("\"\""))
}

fn has(tags: &str, etag: &HeaderValue) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

fn disposition(info: &BlobInfo) -> String {
    if info.filename.is_empty() {
        return "attachment".to_owned();
    }
    let ascii: String = info
        .filename
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
        utf8_percent_encode(&info.filename, PLAIN)
    )
}

/// The bytes as they come. What goes wrong on the way ends the connection: a client sees that it hasn't everything.
fn content(app: &App, seat: &Seat, blob_id: &str, first: u64, length: u64) -> Body {
    let (reader, mut writer) = tokio::io::duplex(BUFFER);
    // Whatever the network gives or the client takes is a step.
    let (steps, mut stepped) = watch::channel(0_u64);
    let step = move |steps: &watch::Sender<u64>| steps.send_modify(|n| *n = n.wrapping_add(1));
    let given = steps.clone();
    let get = seat.node.blobs().get(blob_id).range(first, Some(length)).progress(move |_| step(&given));
    let idle = app.config.http.transfer_idle + Duration::from_secs(1);
    let task = tokio::spawn(async move {
        let mut writing = std::pin::pin!(get.to_writer(&mut writer));
        loop {
            tokio::select! {
                ended = writing.as_mut() => return ended.map(drop).map_err(|error| error.to_string()),
                moved = timeout(idle, stepped.changed()) => match moved {
                    Ok(Ok(())) => {}
                    // The last word was said: what is left is to be read.
                    Ok(Err(_)) => return writing.await.map(drop).map_err(|error| error.to_string()),
                    Err(_) => return Err("the client reads nothing".to_owned()),
                },
            }
        }
    });
    let ended = stream::once(task).filter_map(async |ended| {
        let failed = match ended {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(error) => error.to_string(),
        };
        tracing::debug!(error = failed, "a file was cut off");
        Some(Err(std::io::Error::other(failed)))
    });
    let taken = ReaderStream::with_capacity(reader, 64 * 1024).inspect(move |_| step(&steps));
    Body::from_stream(taken.chain(ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_headers_safely() {
        let of = |name: &str| {
            let info = serde_json::json!({"blob_id": "b", "account_id": "a", "filename": name, "mime_type": "x/y",
                "size_bytes": 1, "sha256": "00", "created_at": "", "chunk_size": 1});
            disposition(&serde_json::from_value(info).unwrap())
        };
        assert_eq!(of(""), "attachment");
        assert_eq!(of("a b.txt"), "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        assert_eq!(of("é\".txt"), "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A9%22.txt");
    }

    #[test]
    fn tags_are_compared_weakly() {
        let etag = HeaderValue::from_static("\"ab\"");
        for (tags, known) in [("*", true), ("\"x\", W/\"ab\"", true), ("\"abc\"", false), ("", false)] {
            assert_eq!(has(tags, &etag), known, "{tags}");
        }
    }
}
