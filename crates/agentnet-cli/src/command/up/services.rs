//! The services that run in this process.

use agentnet_persister::Persister;
use agentnet_registry::Registry;
use agentnet_service::{
    config::{ConfigError, Env, ShutdownConfig},
    service::{FullConfig, Service, ServiceError, start},
    shutdown::Shutdown,
};
use tokio::task::JoinHandle;

use super::super::environment;
use crate::failure::Failure;

/// What the services of one network are told.
#[derive(Clone)]
pub struct Told {
    /// NATS with its token.
    pub nats_url: String,
    /// The database with its password.
    pub database_url: String,
    /// The network's name, made with its data directory.
    pub deployment: String,
}

impl Told {
    /// The environment as the services see it: ours, except for what `up` decides.
    fn env(&self) -> Env {
        let told = self.clone();
        Env::new(move |name| match name {
            "NATS_URL" => Some(told.nats_url.clone()),
            "DATABASE_URL" => Some(told.database_url.clone()),
            "AGENTNET_DEPLOYMENT" => Some(told.deployment.clone()),
            // Until agents have identities there is one mode.
            "AGENTNET_SECURITY" => Some("open".to_owned()),
            "DEV_AUTH" => Some("false".to_owned()),
            // Two services of one process can't listen at one address; `up` watches them itself.
            "AGENTNET_HTTP_ADDR" => None,
            _ => environment(name),
        })
    }
}

/// A service that runs here.
pub struct Running {
    /// Its name.
    pub name: &'static str,
    /// Ends when it has stopped.
    pub task: JoinHandle<Result<(), ServiceError>>,
}

/// A service that `up` knows how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accounts, presence, queries.
    Registry,
    /// JetStream to Postgres.
    Persister,
}

impl Kind {
    /// All of them, in the order of their start.
    pub const ALL: [Self; 2] = [Self::Persister, Self::Registry];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => Registry::NAME,
            Self::Persister => Persister::NAME,
        }
    }

    /// Starts it; it answers when this returns.
    ///
    /// # Errors
    /// `config` for a variable that can't be used, `service_failed` otherwise.
    pub async fn start(self, told: &Told, shutdown: &Shutdown) -> Result<Running, Failure> {
        let env = told.env();
        let task = match self {
            Self::Registry => {
                let mut config = FullConfig::<agentnet_registry::Config>::read::<Registry>(&env)
                    .map_err(|error| bad_config(&error))?;
                config.service.announce = false;
                start::<Registry>(config, shutdown).await.map_err(|error| failed(&error))?.task
            }
            Self::Persister => {
                let config = FullConfig::read::<Persister>(&env).map_err(|error| bad_config(&error))?;
                start::<Persister>(config, shutdown).await.map_err(|error| failed(&error))?.task
            }
        };
        Ok(Running { name: self.name(), task })
    }
}

/// How long a stop may take: a person waits for it.
pub fn shutdown() -> Shutdown {
    Shutdown::new(ShutdownConfig {
        soft: std::time::Duration::from_secs(5),
        hard: std::time::Duration::from_secs(8),
    })
}

fn bad_config(error: &ConfigError) -> Failure {
    let hint = format!("correct or unset {}", error.variable());
    Failure::local("config", error.to_string(), hint)
}

fn failed(error: &ServiceError) -> Failure {
    Failure::local(
        "service_failed",
        agentnet_service::chain(error),
        "the log under the data directory has more",
    )
}
