//! Starting one service in a process that may host others.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Deps, FullConfig, Link as _, Service};
use crate::health::{self, HealthChecks};
use crate::nats;
use crate::shutdown::Shutdown;
use crate::stats::Stats;
use crate::telemetry;

/// Least time given to flush and close the connection, though the hard deadline has passed.
const CLOSE_AT_LEAST: Duration = Duration::from_millis(500);

/// A service couldn't start, or ended with an error. `#[source]` has the cause.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// NATS can't be reached.
    #[error(transparent)]
    Nats(#[from] nats::NatsError),
    /// The health endpoint can't listen.
    #[error(transparent)]
    Listen(#[from] health::ListenError),
    /// Metrics can't be recorded.
    #[error("metrics are not available")]
    Recorder(#[source] telemetry::RecorderError),
    /// The service couldn't be built.
    #[error("{name} could not start")]
    Build {
        /// Name of the service.
        name: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The service stopped working.
    #[error("{name} failed")]
    Run {
        /// Name of the service.
        name: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The service's main task panicked.
    #[error("{name} panicked")]
    Panicked {
        /// Name of the service.
        name: &'static str,
    },
    /// In-flight work didn't finish by the hard deadline.
    #[error("{name} did not stop in time")]
    StopTimedOut {
        /// Name of the service.
        name: &'static str,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Started<H> {
    /// The service's handle.
    pub handle: H,
    /// Where its health endpoint listens.
    pub health_addr: Option<SocketAddr>,
    /// Ends after the stop, with the connection closed.
    pub task: JoinHandle<Result<(), ServiceError>>,
}

/// Connects, builds the service, starts its health endpoint and runs it until `shutdown`. Returns when the
/// service answers.
pub async fn start<S: Service>(
    config: FullConfig<S::Config>,
    shutdown: &Shutdown,
) -> Result<Started<S::Handle>, ServiceError> {
    let FullConfig { mut chassis, service } = config;
    if let Some(prefix) = S::INBOX_PREFIX {
        chassis.nats.inbox_prefix = Some(prefix.to_owned());
    }
    // Before anything is built: counters bind to the recorder that is there when they are made.
    let metrics = match chassis.http.addr {
        Some(_) => Some(telemetry::metrics_recorder().map_err(ServiceError::Recorder)?),
        None => None,
    };
    let nats = <S::Link as super::Link>::open(&chassis.nats, S::NAME).await?;
    let health = HealthChecks::default();
    nats.register_check(&health, chassis.http.check_timeout);
    let stats = Stats::new(S::stats_window(&service));
    let deps = Deps { nats: nats.clone(), health: health.clone(), stats };
    let (service, handle) = S::build(service, deps)
        .await
        .map_err(|source| ServiceError::Build { name: S::NAME, source: source.into() })?;
    let health_addr = health::serve(&chassis.http, health, metrics, shutdown.clone()).await?;
    tracing::info!(service = S::NAME, nats = nats.target(), "ready");
    let shutdown = shutdown.clone();
    let task = tokio::spawn(async move {
        let ran = run_to_end(service, &shutdown).await;
        let within = shutdown.remaining().max(CLOSE_AT_LEAST);
        if let Err(error) = nats.close(within).await {
            tracing::warn!(service = S::NAME, %error, "NATS connection not closed in order");
        }
        ran
    });
    Ok(Started { handle, health_addr, task })
}

async fn run_to_end<S: Service>(service: S, shutdown: &Shutdown) -> Result<(), ServiceError> {
    // A task of its own, so that a panic still ends in a closed connection.
    let mut run = tokio::spawn(service.run(shutdown.clone()));
    match shutdown.bounded(&mut run).await {
        Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(source))) => Err(ServiceError::Run { name: S::NAME, source: source.into() }),
        Some(Err(_)) => Err(ServiceError::Panicked { name: S::NAME }),
        None => {
            run.abort();
            Err(ServiceError::StopTimedOut { name: S::NAME })
        }
    }
}
