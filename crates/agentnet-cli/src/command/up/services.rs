//! The services that run in this process.

use agentnet::proto::Security;
use agentnet_persister::Persister;
use agentnet_registry::Registry;
use agentnet_service::{
    config::{ConfigError, Env, ShutdownConfig},
    service::{FullConfig, Service, ServiceError, start},
    shutdown::Shutdown,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;

use super::{super::environment, secrets::Secure};
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
    /// Its mode.
    pub security: Security,
    /// Seals the keys of access tokens.
    pub token_secret: SecretString,
    /// What secure mode takes.
    pub secure: Option<Secure>,
}

impl Told {
    /// The environment as the services see it: ours, except for what `up` decides.
    fn env(&self, kind: Kind) -> Env {
        let told = self.clone();
        Env::new(move |name| match name {
            "NATS_URL" => Some(told.nats_url.clone()),
            "DATABASE_URL" => Some(told.database_url.clone()),
            "AGENTNET_DEPLOYMENT" => Some(told.deployment.clone()),
            "AGENTNET_SECURITY" => Some(told.security.to_string()),
            "DEV_AUTH" => Some("false".to_owned()),
            "AGENTNET_NKEY_SEED"
            | "AGENTNET_CALLOUT_SEED"
            | "AGENTNET_CALLOUT_XKEY_SEED"
            | "AGENTNET_SYSTEM_NKEY_SEED"
            | "AGENTNET_OPERATOR_KEYS"
            | "AGENTNET_GATEWAY_KEYS"
            | "AGENTNET_ENROLMENT_TOKEN" => told.secure(kind, name),
            "AGENTNET_TOKEN_SECRET" => Some(told.token_secret.expose_secret().to_owned()),
            // Two services of one process can't listen at one address; `up` watches them itself.
            "AGENTNET_HTTP_ADDR" => None,
            _ => environment(name),
        })
    }
}

impl Told {
    fn secure(&self, kind: Kind, name: &str) -> Option<String> {
        let Secure { seeds, operator, gateway, enrolment_token, .. } = self.secure.as_ref()?;
        let seed = match (name, kind) {
            ("AGENTNET_NKEY_SEED", Kind::Registry) => &seeds.registry,
            ("AGENTNET_NKEY_SEED", Kind::Persister) => &seeds.persister,
            ("AGENTNET_CALLOUT_SEED", _) => &seeds.issuer,
            ("AGENTNET_CALLOUT_XKEY_SEED", _) => &seeds.xkey,
            ("AGENTNET_SYSTEM_NKEY_SEED", _) => &seeds.system,
            ("AGENTNET_ENROLMENT_TOKEN", _) => enrolment_token,
            // Whoever starts the network runs it, and its gateway is one, beside those they name.
            _ => {
                let own = if name == "AGENTNET_GATEWAY_KEYS" { gateway } else { operator };
                return Some(
                    [Some(own.clone()), environment(name)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(","),
                );
            }
        };
        Some(seed.expose_secret().to_owned())
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
        let env = told.env(self);
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
