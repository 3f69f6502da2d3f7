//! Whether the gateway works, as the seeds' clients ask.

use std::{convert::Infallible, time::Duration};

use agentnet_proto::ErrorCode;
use axum::{
    Json,
    extract::{FromRequestParts, Request, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, Uri, request::Parts},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    caller::Caller,
    chat,
    config::Face,
    http::{Peer, Problem},
    p2p,
};

/// How long each check may take.
const WITHIN: Duration = Duration::from_secs(2);

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(root)).routes(routes!(health))
}

/// How the gateway is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GatewayHealth {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    /// Which face it is: `agentnet-gateway`, or `agentnet-connect`, `agentnet-chat`, `agentnet-p2p` at a listener of theirs.
    service: &'static str,
    /// Its version.
    version: &'static str,
    /// When, ISO 8601.
    timestamp: String,
    /// What was checked.
    checks: Vec<HealthCheck>,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HealthCheck {
    /// What was checked.
    name: String,
    /// Whether it works.
    ok: bool,
}

/// The door that a request came in by.
pub(crate) struct At(pub(crate) Face);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Peer>().map_or(Face::All, |peer| peer.face)))
    }
}

async fn look(app: &App, face: Face) -> (StatusCode, Json<GatewayHealth>) {
    let report = app.health.run(WITHIN).await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = GatewayHealth {
        status: if report.ready { "healthy" } else { "unhealthy" },
        service: face.service(),
        version: env!("CARGO_PKG_VERSION"),
        timestamp: app.now(),
        checks: report
            .checks
            .into_iter()
            .map(|check| HealthCheck { name: check.name, ok: check.ok })
            .collect(),
    };
    (status, Json(body))
}

/// How the gateway is; on an upgrade the chat server, or the P2P module at a listener of its own
#[utoipa::path(get, path = "/", tag = "health",
    responses((status = 200, body = ref("#/components/schemas/GatewayHealth")),
        (status = 503, body = ref("#/components/schemas/GatewayHealth"))))]
pub(crate) async fn root(
    State(app): State<App>,
    At(face): At,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Ok(socket) = socket else { return Ok(look(&app, face).await.into_response()) };
    // Only then: a probe of health must not wait for the network, nor come online.
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &app).await;
    match face {
        Face::All | Face::Chat => chat::open(&app, caller, &uri, &headers, socket).await,
        Face::P2p => p2p::open(&app, caller, &uri, &headers, socket),
        Face::Connect => {
            let detail = "no WebSocket is here; sessions have theirs at /api/chat/ws/{session_id}";
            Err(Problem::new(ErrorCode::NotFound, detail))
        }
    }
}

/// How the gateway is
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = ref("#/components/schemas/GatewayHealth")),
        (status = 503, body = ref("#/components/schemas/GatewayHealth"))))]
pub(crate) async fn health(State(app): State<App>, At(face): At) -> (StatusCode, Json<GatewayHealth>) {
    look(&app, face).await
}
