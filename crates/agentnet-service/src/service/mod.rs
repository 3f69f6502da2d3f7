//! The shape of a service and the `main` of its binary.
//!
//! `main.rs` of a service is one call: `fn main() -> ExitCode { agentnet_service::service::main::<Registry>() }`.
//! A process that hosts several services reads each one's config and calls [`start`] for each with the same
//! [`Shutdown`].

mod link;
mod main;
mod probe;
mod start;

use std::error::Error;
use std::future::Future;

pub use link::{ByItself, Link};
pub use main::{EXIT_FAILURE, main, run};
pub use start::{ServiceError, Started, start};

use crate::config::{ChassisConfig, ConfigError, Env};
use crate::health::HealthChecks;
use crate::nats::Nats;
use crate::shutdown::Shutdown;
use crate::stats::Stats;

/// What the chassis lends a service.
#[derive(Clone, Debug)]
pub struct Deps<L = Nats> {
    /// Way to NATS, closed by the chassis after [`Service::run`] has returned.
    pub nats: L,
    /// Where to register readiness checks; a connection of the chassis is checked already.
    pub health: HealthChecks,
    /// Timers.
    pub stats: Stats,
}

/// A service: `Config` is plain data, `build` makes everything and says what is missing, `run` works until the
/// stop. Reading config starts nothing; when `build` returns, the service answers.
pub trait Service: Sized + Send + 'static {
    /// Name of the service: NATS connection name, prefix of log lines.
    const NAME: &'static str;
    /// Prefix of its connection's reply subjects, `_INBOX` if `None`. A service that listens to other people's inboxes
    /// needs one of its own, or it hears its own replies.
    const INBOX_PREFIX: Option<&'static str> = None;
    /// What it reaches NATS through: [`Nats`], unless it connects by itself.
    type Link: Link;
    /// Everything it can be told, as plain data.
    type Config: Send;
    /// Cheap handle for whoever hosts it.
    type Handle: Clone + Send + Sync + 'static;
    /// Why it couldn't be built or stopped working.
    type Error: Error + Send + Sync + 'static;

    /// Reads the service's own sections.
    fn read_config(env: &Env) -> Result<Self::Config, ConfigError>;

    /// Samples per timer in [`Deps::stats`].
    fn stats_window(_config: &Self::Config) -> usize {
        crate::stats::DEFAULT_WINDOW
    }

    /// Connects to what it needs, subscribes, and says that it is ready by returning.
    fn build(
        config: Self::Config,
        deps: Deps<Self::Link>,
    ) -> impl Future<Output = Result<(Self, Self::Handle), Self::Error>> + Send;

    /// Works until a stop is asked for, then stops intake and finishes what is in flight. It must not close the
    /// NATS connection.
    fn run(self, shutdown: Shutdown) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Both halves of a service's configuration.
#[derive(Clone, Debug)]
pub struct FullConfig<C> {
    /// Sections of the chassis.
    pub chassis: ChassisConfig,
    /// Sections of the service.
    pub service: C,
}

impl<C> FullConfig<C> {
    /// Reads both halves; the first bad variable is the error.
    pub fn read<S: Service<Config = C>>(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { chassis: ChassisConfig::from_env(env)?, service: S::read_config(env)? })
    }
}
