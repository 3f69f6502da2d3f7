//! Whether the gateway works, as the seeds' clients ask.

use std::time::Duration;

use axum::{
    Json,
    extract::{
        FromRequestParts as _, Request, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection,
    },
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, caller::Caller, chat, http::Problem};

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
    /// Always `agentnet-gateway`.
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

async fn look(app: &App) -> (StatusCode, Json<GatewayHealth>) {
    let report = app.health.run(WITHIN).await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = GatewayHealth {
        status: if report.ready { "healthy" } else { "unhealthy" },
        service: "agentnet-gateway",
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

/// How the gateway is; on an upgrade the chat server
#[utoipa::path(get, path = "/", tag = "health",
    responses((status = 200, body = ref("#/components/schemas/GatewayHealth")),
        (status = 503, body = ref("#/components/schemas/GatewayHealth"))))]
pub(crate) async fn root(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match socket {
        Ok(socket) => {
            // Only then: a probe of health must not wait for the network, nor come online.
            let (mut parts, _) = request.into_parts();
            let caller = Caller::from_request_parts(&mut parts, &app).await;
            chat::open(&app, caller, &uri, &headers, socket).await
        }
        Err(_) => Ok(look(&app).await.into_response()),
    }
}

/// How the gateway is
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = ref("#/components/schemas/GatewayHealth")),
        (status = 503, body = ref("#/components/schemas/GatewayHealth"))))]
pub(crate) async fn health(State(app): State<App>) -> (StatusCode, Json<GatewayHealth>) {
    look(&app).await
}
