//! The services that run in this process.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use agentnet::proto::{Security, signature::SecretKey};
use agentnet_gateway::Gateway;
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

/// The port of the gateway's HTTP API, if it is free: the seed's clients look there.
const HTTP_PORT: u16 = 8000;

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
    /// The gateway's key in signed mode.
    pub gateway_seed: Option<SecretString>,
    /// The gateway's port that was asked for.
    pub http_port: Option<u16>,
    /// The gateway's certificate and key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Where the gateway listens since its first start: its next one must be found there too.
    pub gateway: Arc<OnceLock<Found>>,
}

/// Where the gateway is.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its URL, for clients on this machine.
    pub url: String,
    /// Its addresses, as its configuration has them.
    listen: String,
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
            | "AGENTNET_ENROLMENT_TOKEN" => told.secure(kind, name),
            "AGENTNET_GATEWAY_KEYS" => told.gateway_keys(),
            "GATEWAY_LISTEN" => told.gateway_listens(),
            "GATEWAY_TLS_CERT" | "GATEWAY_TLS_KEY" => told.tls_file(name),
            "GATEWAY_KEY_SEED" => Some(told.gateway_seed.as_ref()?.expose_secret().to_owned()),
            "AGENTNET_TOKEN_SECRET" => Some(told.token_secret.expose_secret().to_owned()),
            // Two services of one process can't listen at one address; `up` watches them itself.
            "AGENTNET_HTTP_ADDR" => None,
            _ => environment(name),
        })
    }
}

impl Told {
    /// Where it was; else at the port asked for, else where the environment says, else at the usual port or a free one.
    fn gateway_listens(&self) -> Option<String> {
        if let Some(found) = self.gateway.get() {
            return Some(found.listen.clone());
        }
        let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        if let Some(port) = self.http_port {
            return Some(on_loopback(port));
        }
        environment("GATEWAY_LISTEN").or_else(|| {
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, HTTP_PORT)).is_ok();
            Some(on_loopback(if is_free { HTTP_PORT } else { 0 }))
        })
    }

    /// What the command line says, both or none of it; else what the environment does.
    fn tls_file(&self, name: &str) -> Option<String> {
        match &self.tls_files {
            Some((cert, key)) => {
                let file = if name == "GATEWAY_TLS_CERT" { cert } else { key };
                Some(file.to_string_lossy().into_owned())
            }
            None => environment(name),
        }
    }

    /// The gateway's key, beside those that the environment names. In open mode keys mean nothing.
    fn gateway_keys(&self) -> Option<String> {
        let seed = self.gateway_seed.as_ref();
        let signed = seed.and_then(|seed| SecretKey::from_nkey_seed(seed.expose_secret()).ok());
        let own = match &self.secure {
            Some(secure) => Some(secure.gateway.clone()),
            None => signed.map(|key| key.verifying().to_string()),
        };
        let keys: Vec<String> = own.into_iter().chain(environment("AGENTNET_GATEWAY_KEYS")).collect();
        (!keys.is_empty()).then(|| keys.join(","))
    }

    fn secure(&self, kind: Kind, name: &str) -> Option<String> {
        let Secure { seeds, operator, enrolment_token, .. } = self.secure.as_ref()?;
        let seed = match (name, kind) {
            ("AGENTNET_NKEY_SEED", Kind::Registry) => &seeds.registry,
            ("AGENTNET_NKEY_SEED", Kind::Persister) => &seeds.persister,
            ("AGENTNET_NKEY_SEED", Kind::Gateway) => &seeds.gateway,
            ("AGENTNET_CALLOUT_SEED", _) => &seeds.issuer,
            ("AGENTNET_CALLOUT_XKEY_SEED", _) => &seeds.xkey,
            ("AGENTNET_SYSTEM_NKEY_SEED", _) => &seeds.system,
            ("AGENTNET_ENROLMENT_TOKEN", _) => enrolment_token,
            // Whoever starts the network runs it, beside those they name.
            _ => {
                return Some(
                    [Some(operator.clone()), environment(name)]
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
    /// HTTP and WebSocket.
    Gateway,
}

impl Kind {
    /// All of them, in the order of their start.
    pub const ALL: [Self; 3] = [Self::Persister, Self::Registry, Self::Gateway];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => Registry::NAME,
            Self::Persister => Persister::NAME,
            Self::Gateway => Gateway::NAME,
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
            Self::Gateway => {
                let config = FullConfig::read::<Gateway>(&env).map_err(|error| bad_config(&error))?;
                let started = start::<Gateway>(config, shutdown).await.map_err(|error| failed(&error))?;
                let listens: Vec<String> = started.handle.listens().iter().map(ToString::to_string).collect();
                if let Some(url) = started.handle.url() {
                    told.gateway.get_or_init(|| Found { url, listen: listens.join(",") });
                }
                started.task
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
