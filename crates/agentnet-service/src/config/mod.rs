//! Configuration from the environment: typed, with defaults, and errors that name the variable.
//!
//! The environment is read through [`Env`] only, so tests replace it with pairs. Reading starts nothing.

mod deployment;
mod env;
mod error;
mod http;
mod log;
mod nats;
mod security;
mod shutdown;

pub use deployment::deployment;
pub use env::Env;
pub use error::ConfigError;
pub use http::HttpConfig;
pub(crate) use log::open as open_log;
pub use log::{LogConfig, LogFormat};
pub use nats::{DEFAULT_NATS_URL, NatsAuth, NatsConfig, NatsServer, NatsTls, user_seed};
pub use security::security;
pub use shutdown::ShutdownConfig;

/// The sections every service has.
#[derive(Clone, Debug)]
pub struct ChassisConfig {
    /// Where NATS is and how to stay connected.
    pub nats: NatsConfig,
    /// Health and metrics endpoint.
    pub http: HttpConfig,
    /// How long an orderly stop may take.
    pub shutdown: ShutdownConfig,
    /// Threads of the async runtime. 1 means a single-threaded runtime, which is the fastest choice for
    /// message work on few cores.
    pub worker_threads: usize,
}

impl ChassisConfig {
    /// Reads every section; the first bad variable is the error.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            nats: NatsConfig::from_env(env)?,
            http: HttpConfig::from_env(env)?,
            shutdown: ShutdownConfig::from_env(env)?,
            worker_threads: env.integer("AGENTNET_WORKER_THREADS", default_threads(), 1..=1024)? as usize,
        })
    }
}

fn default_threads() -> u64 {
    // On one or two cores the wake-ups between workers cost more than the second worker brings.
    match std::thread::available_parallelism().map_or(1, usize::from) {
        0..=2 => 1,
        cores => cores.min(4) as u64,
    }
}
