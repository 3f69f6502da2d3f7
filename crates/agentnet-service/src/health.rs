//! `/live`, `/ready` and `/metrics` over HTTP.
//!
//! `/live` says that the process runs. `/ready` runs every registered check, each within a deadline, and says
//! 503 if one fails: a check proves work by a round trip, it doesn't read a flag.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::config::HttpConfig;
use crate::nats::Nats;
use crate::shutdown::Shutdown;

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The readiness checks of a process, by name. Cheap to clone; a check of the same name replaces the earlier.
#[derive(Clone, Default)]
pub struct HealthChecks {
    checks: Arc<RwLock<BTreeMap<String, Check>>>,
}

impl fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(checks.keys()).finish()
    }
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Name of the check.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What is wrong. Shown to whoever can reach the endpoint: no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Result of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadyReport {
    /// Whether every check passed.
    pub ready: bool,
    /// Every check, by name.
    pub checks: Vec<CheckReport>,
}

impl HealthChecks {
    /// Adds a check.
    pub fn register<F, Fut>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), check);
    }

    /// Adds the check `name` that sends a message through NATS and back.
    pub fn register_nats(&self, name: impl Into<String>, nats: &Nats, within: Duration) {
        let nats = nats.clone();
        self.register(name, move || {
            let nats = nats.clone();
            async move { nats.round_trip(within).await.map_err(|error| error.to_string()) }
        });
    }

    /// Runs every check at once, each within `within`; one that panics has failed.
    pub async fn run(&self, within: Duration) -> ReadyReport {
        let checks: Vec<(String, Check)> = {
            let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
            checks.iter().map(|(name, check)| (name.clone(), check.clone())).collect()
        };
        let runs = checks.into_iter().map(|(name, check)| async move {
            let run = std::panic::AssertUnwindSafe(async move { check().await }).catch_unwind();
            let error = match timeout(within, run).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(error))) => Some(error),
                Ok(Err(_panic)) => Some("the check panicked".to_owned()),
                Err(_) => Some(format!("no answer within {} s", within.as_secs_f64())),
            };
            CheckReport { name, ok: error.is_none(), error }
        });
        let checks = join_all(runs).await;
        ReadyReport { ready: checks.iter().all(|check| check.ok), checks }
    }
}

/// The endpoint couldn't listen.
#[derive(Debug, thiserror::Error)]
#[error("AGENTNET_HTTP_ADDR={addr} can't be listened on; choose a free port of this machine")]
pub struct ListenError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

#[derive(Clone)]
struct App {
    checks: HealthChecks,
    check_timeout: Duration,
    metrics: Option<PrometheusHandle>,
    shutdown: Shutdown,
}

/// Starts the endpoint and returns the address it listens on; `None` when none is configured. It answers until
/// the hard deadline of a stop, `/ready` with 503, so that a balancer sees the stop.
pub async fn serve(
    config: &HttpConfig,
    checks: HealthChecks,
    metrics: Option<PrometheusHandle>,
    shutdown: Shutdown,
) -> Result<Option<SocketAddr>, ListenError> {
    let Some(addr) = config.addr else { return Ok(None) };
    let listen = async {
        let listener = TcpListener::bind(addr).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    let (listener, bound) = listen.await.map_err(|source| ListenError { addr, source })?;
    let app = App { checks, check_timeout: config.check_timeout, metrics, shutdown: shutdown.clone() };
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .with_state(app);
    tokio::spawn(async move {
        // The accept loop never fails for good; what ends it is the deadline.
        let _ = shutdown.bounded(axum::serve(listener, router).into_future()).await;
    });
    tracing::info!(addr = %bound, "health endpoint listens");
    Ok(Some(bound))
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<App>) -> impl IntoResponse {
    let mut report = app.checks.run(app.check_timeout).await;
    if app.shutdown.is_requested() {
        report.ready = false;
        let error = Some("stopping".to_owned());
        report.checks.push(CheckReport { name: "running".to_owned(), ok: false, error });
    }
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

async fn render_metrics(State(app): State<App>) -> impl IntoResponse {
    match app.metrics {
        Some(handle) => {
            let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (StatusCode::OK, text, handle.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no metrics recorder in this process\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_way_a_check_can_fail() {
        let checks = HealthChecks::default();
        assert!(checks.run(Duration::from_secs(1)).await.ready);
        checks.register("good", || async { Ok(()) });
        assert!(checks.run(Duration::from_secs(1)).await.ready);
        checks.register("bad", || async { Err("broken".to_owned()) });
        checks.register("hangs", std::future::pending);
        checks.register("panics", || async { panic!("as the test wants") });
        let report = checks.run(Duration::from_millis(20)).await;
        assert!(!report.ready);
        let errors: Vec<(&str, Option<&str>)> =
            report.checks.iter().map(|check| (check.name.as_str(), check.error.as_deref())).collect();
        assert_eq!(
            errors,
            [
                ("bad", Some("broken")),
                ("good", None),
                ("hangs", Some("no answer within 0.02 s")),
                ("panics", Some("the check panicked")),
            ]
        );
    }
}
