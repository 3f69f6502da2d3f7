//! What stands around every route.

use agentnet_proto::ErrorCode;
use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{DefaultBodyLimit, Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate as _, SizeAbove},
    },
    cors::{AllowOrigin, CorsLayer},
    timeout::TimeoutBody,
};

use super::{Problem, access};
use crate::{app::App, config::Origins};

/// Smallest body worth compressing.
const COMPRESS_ABOVE: u64 = 512;

/// The routes with everything around them.
pub(crate) fn wrap(router: Router<App>, app: &App) -> Router {
    let rules = &app.config.http;
    let compressed = SizeAbove::new(COMPRESS_ABOVE)
        .and(NotForContentType::const_new("text/event-stream"))
        .and(NotForContentType::IMAGES)
        .and(is_not_raw);
    router
        .fallback(|| async { Problem::new(ErrorCode::NotFound, "there is no such route; /docs lists them") })
        .method_not_allowed_fallback(|| async { Problem::of(ErrorCode::MethodNotAllowed) })
        .layer(DefaultBodyLimit::max(rules.max_body))
        .layer(middleware::from_fn_with_state(app.clone(), in_time))
        .layer(CompressionLayer::new().gzip(true).compress_when(compressed))
        .layer(cors(&rules.origins))
        .layer(middleware::from_fn(hardened))
        .layer(CatchPanicLayer::custom(|_| Problem::of(ErrorCode::Internal).into_response()))
        .layer(middleware::from_fn_with_state(app.clone(), access::access))
        .with_state(app.clone())
}

/// Marks an answer whose bytes must stay as they are: ranges and tags are of those.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw;

fn is_not_raw(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Raw>().is_none()
}

/// Whether a request brings a file, which takes as long as it takes; how long nothing may come is limited where it is read.
fn brings_file(request: &Request) -> bool {
    let is_upload = matches!(*request.method(), Method::POST | Method::PUT)
        && request.uri().path().starts_with("/api/blobs");
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    is_upload || media.is_some_and(|media| media.trim_start().starts_with("multipart/"))
}

/// An answer comes in time, or 504 does. Streams and sockets begin in time; their bodies go on. The request's body may pause
/// no longer than its head: 408 otherwise.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    if brings_file(&request) {
        return next.run(request).await;
    }
    let pause = app.config.http.header_timeout;
    let request = match request.body().is_end_stream() {
        true => request,
        false => request.map(|body| Body::new(TimeoutBody::new(pause, body))),
    };
    match timeout(app.config.http.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(ErrorCode::Timeout, "the answer took too long; try again").into_response(),
    }
}

/// Headers that keep browsers from doing more with an answer than is meant.
async fn hardened(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn cors(origins: &Origins) -> CorsLayer {
    let origins = origins.clone();
    let allowed = AllowOrigin::predicate(move |origin: &HeaderValue, _| {
        origin.to_str().is_ok_and(|origin| origins.allows(origin))
    });
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            header::IF_RANGE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::ETAG,
            header::LOCATION,
            header::ACCEPT_RANGES,
            header::CONTENT_RANGE,
            header::CONTENT_DISPOSITION,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(600))
}
