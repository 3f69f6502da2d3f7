//! Everything that `up` runs, started and stopped in order.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet::proto::{Security, rpc::SearchRequest};
use agentnet_local::{DataDir, NatsServer, PostgresServer, StopMode};
use agentnet_service::shutdown::Shutdown;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Args,
    progress::Progress,
    secrets::{self, Secure},
    servers,
    services::{self, Kind, Running, Told},
};
use crate::{
    failure::Failure,
    network::{Network, Source},
};

/// Everything must answer within this after it was started.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(50);
/// A service that hasn't ended by then is left behind; the process ends anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);

/// A running network.
pub struct Stack {
    pub(super) nats: Arc<NatsServer>,
    pub(super) postgres: Arc<PostgresServer>,
    pub(super) shutdown: Shutdown,
    pub(super) told: Told,
    pub(super) services: Mutex<Vec<Running>>,
}

impl Stack {
    /// Starts everything and waits until a question to the registry was answered from Postgres.
    ///
    /// # Errors
    /// What couldn't be started.
    pub async fn start(dir: &DataDir, args: &Args, progress: &Progress) -> Result<Self, Failure> {
        // Random like a secret, so that no two networks have one name; it is told to whoever asks.
        let deployment = dir.secret("deployment")?.expose_secret().to_owned();
        let security = args.security();
        let secure = match security {
            Security::Secure => Some(Secure::of(dir)?),
            Security::Open | Security::Signed => None,
        };
        let gateway_seed = match security {
            Security::Signed => Some(secrets::gateway_seed(dir)?),
            Security::Open | Security::Secure => None,
        };
        // Both are waited for: one that is given up in the middle of its start would end after us.
        let (nats, postgres) = match tokio::join!(
            servers::nats(dir, args.nats_port, secure.as_ref(), progress),
            servers::postgres(dir, args.pg_port, progress),
        ) {
            (Ok(nats), Ok(postgres)) => (nats, postgres),
            (Err(failure), started) => {
                stop_postgres(started.ok(), progress).await;
                return Err(failure);
            }
            (started, Err(failure)) => {
                stop_nats(started.ok(), progress).await;
                return Err(failure);
            }
        };
        let told = Told {
            nats_url: nats.url(),
            database_url: postgres.url(servers::DATABASE),
            deployment,
            security,
            token_secret: dir.secret("token-secret")?,
            secure,
            gateway_seed,
            http_port: args.http_port,
            tls_files: args.tls_cert.clone().zip(args.tls_key.clone()),
            gateway: Arc::default(),
        };
        let stack = Self { nats, postgres, shutdown: services::shutdown(), told, services: Mutex::default() };
        let step = progress.step("starting services");
        match stack.start_services().await {
            Ok(()) => step.done("registry, persister and gateway answer"),
            Err(failure) => {
                step.failed("the services did not start");
                stack.stop(progress).await;
                return Err(failure);
            }
        }
        Ok(stack)
    }

    async fn start_services(&self) -> Result<(), Failure> {
        for kind in Kind::ALL {
            let running = kind.start(&self.told, &self.shutdown).await?;
            self.running().push(running);
        }
        self.answers(READY_TIMEOUT).await
    }

    /// The network as this process's own clients reach it.
    pub fn network(&self) -> Network {
        Network {
            url: SecretString::from(self.told.nats_url.clone()),
            source: Source::Flag,
            security: Some(self.told.security),
            who: self.told.secure.as_ref().map(|secure| secure.who.clone()),
            guest: None,
        }
    }

    /// Waits for a round trip through NATS and the registry to Postgres.
    async fn answers(&self, within: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + within;
        let link = self.network().connect("agentnet-up").await?;
        let registry = link.registry(Duration::from_secs(2));
        let probe = SearchRequest { limit: Some(1), ..SearchRequest::default() };
        let answered = loop {
            match registry.search(&probe).await {
                Ok(_) => break Ok(()),
                Err(error) if Instant::now() >= deadline => break Err(error.into()),
                Err(_) => sleep(RETRY).await,
            }
        };
        link.close().await;
        answered
    }

    /// Stops everything: services, NATS, Postgres.
    pub async fn stop(&self, progress: &Progress) {
        let services = std::mem::take(&mut *self.running());
        if !services.is_empty() {
            let step = progress.step("stopping services");
            self.shutdown.request();
            let mut late = Vec::new();
            for service in services {
                match timeout(STOP_TIMEOUT, service.task).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => {
                        tracing::warn!(service = service.name, %error, "ended with an error")
                    }
                    _ => late.push(service.name),
                }
            }
            if late.is_empty() {
                step.done("services stopped");
            } else {
                step.failed(&format!("{} did not stop in time", late.join(" and ")));
            }
        }
        stop_nats(Some(Arc::clone(&self.nats)), progress).await;
        stop_postgres(Some(Arc::clone(&self.postgres)), progress).await;
    }

    pub(super) fn running(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn stop_nats(server: Option<Arc<NatsServer>>, progress: &Progress) {
    let Some(server) = server else { return };
    let step = progress.step("stopping NATS");
    // It fails only if the blocking call panics, which the next step doesn't depend on.
    let _ = tokio::task::spawn_blocking(move || server.stop()).await;
    step.done("NATS stopped");
}

async fn stop_postgres(server: Option<Arc<PostgresServer>>, progress: &Progress) {
    let Some(server) = server else { return };
    let step = progress.step("stopping Postgres");
    let _ = tokio::task::spawn_blocking(move || server.stop(StopMode::Fast)).await;
    step.done("Postgres stopped");
}
