//! A request's id, and the one line about it. Queries are left out: they may hold tokens.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};

use super::Peer;
use crate::app::App;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client.
const MAX_ID: usize = 64;
/// Longest path in the log, in characters.
const MAX_PATH: usize = 200;

/// Gives the request its id (the client's `X-Request-Id`, if it is a plain word, else a new one), and logs how it ended.
pub(crate) async fn access(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id: Arc<str> = match request.headers().get(&HEADER).and_then(|value| value.to_str().ok()) {
        Some(id) if is_plain(id) => id.into(),
        _ => app.ids.nonce().into(),
    };
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    // Never the path itself: a label's values must be few.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |p| p.as_str().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.ip);
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    let (status, took) = (response.status().as_u16(), began.elapsed());
    metrics::counter!("gateway_requests_total", "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("gateway_request_seconds", "route" => route).record(took.as_secs_f64());
    tracing::info!(
        target: "agentnet_gateway::access",
        %method, path, status,
        ms = took.as_millis(),
        peer = peer.map(tracing::field::display),
        request_id = %id,
    );
    response
}

fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}
