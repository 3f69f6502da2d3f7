//! The services as children of the harness: the real ones, with what only a harness may set.

use std::process::ExitCode;

use agentnet_persister::{Persister, PersisterError};
use agentnet_proto::{OffsetClock, SharedClock};
use agentnet_registry::{Registry, RegistryError};
use agentnet_service::{
    config::{ConfigError, Env},
    nats::Nats,
    service::{self, Deps, Service},
    shutdown::Shutdown,
};
use std::sync::Arc;

use super::child::die_with_parent;

/// How wrong the clock of a child is, in milliseconds.
pub const CLOCK_OFFSET: &str = "FAULTS_CLOCK_OFFSET_MS";
/// Set for a persister that acknowledges before COMMIT.
pub const EARLY_ACK: &str = "FAULTS_EARLY_ACK";

/// The clock a child was told to use.
pub fn clock(offset_ms: Option<&str>) -> SharedClock {
    Arc::new(OffsetClock::new(offset_ms.and_then(|text| text.parse().ok()).unwrap_or(0)))
}

/// Runs a registry with the environment of this process until it is stopped or its parent is gone.
pub fn registry() -> ExitCode {
    die_with_parent();
    service::run::<HarnessRegistry>(&Env::process())
}

/// The same for a persister.
pub fn persister() -> ExitCode {
    die_with_parent();
    service::run::<HarnessPersister>(&Env::process())
}

struct HarnessRegistry(Registry);

impl Service for HarnessRegistry {
    const NAME: &'static str = Registry::NAME;
    const INBOX_PREFIX: Option<&'static str> = Registry::INBOX_PREFIX;
    type Link = Nats;
    type Config = agentnet_registry::Config;
    type Handle = agentnet_registry::Handle;
    type Error = RegistryError;

    fn read_config(env: &Env) -> Result<Self::Config, ConfigError> {
        let clock = clock(env.get(CLOCK_OFFSET).as_deref());
        // Nobody reads its standard output.
        Ok(Self::Config { clock, announce: false, ..Registry::read_config(env)? })
    }

    fn stats_window(config: &Self::Config) -> usize {
        Registry::stats_window(config)
    }

    async fn build(config: Self::Config, deps: Deps) -> Result<(Self, Self::Handle), RegistryError> {
        let (service, handle) = Registry::build(config, deps).await?;
        Ok((Self(service), handle))
    }

    async fn run(self, shutdown: Shutdown) -> Result<(), RegistryError> {
        self.0.run(shutdown).await
    }
}

struct HarnessPersister(Persister);

impl Service for HarnessPersister {
    const NAME: &'static str = Persister::NAME;
    const INBOX_PREFIX: Option<&'static str> = Persister::INBOX_PREFIX;
    type Link = Nats;
    type Config = agentnet_persister::Config;
    type Handle = agentnet_persister::Handle;
    type Error = PersisterError;

    fn read_config(env: &Env) -> Result<Self::Config, ConfigError> {
        let mut config = Persister::read_config(env)?;
        config.clock = clock(env.get(CLOCK_OFFSET).as_deref());
        config.acknowledges_before_commit = env.flag(EARLY_ACK, false)?;
        Ok(config)
    }

    fn stats_window(config: &Self::Config) -> usize {
        Persister::stats_window(config)
    }

    async fn build(config: Self::Config, deps: Deps) -> Result<(Self, Self::Handle), PersisterError> {
        let (service, handle) = Persister::build(config, deps).await?;
        Ok((Self(service), handle))
    }

    async fn run(self, shutdown: Shutdown) -> Result<(), PersisterError> {
        self.0.run(shutdown).await
    }
}
