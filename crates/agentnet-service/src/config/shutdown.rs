//! How long an orderly stop may take.

use std::time::Duration;

use super::{ConfigError, Env};

/// Deadlines of a stop, both counted from the request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `AGENTNET_SHUTDOWN_SOFT_SECONDS`: handlers still running then are cut off and answered. 10 s.
    pub soft: Duration,
    /// `AGENTNET_SHUTDOWN_HARD_SECONDS`: the process leaves whatever is still going on. 15 s.
    pub hard: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { soft: Duration::from_secs(10), hard: Duration::from_secs(15) }
    }
}

impl ShutdownConfig {
    /// Reads the section.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let hour = Duration::from_secs(3600);
        let soft = env.seconds("AGENTNET_SHUTDOWN_SOFT_SECONDS", default.soft, Duration::ZERO..=hour)?;
        // A longer soft phase pushes the hard one out, unless that is set too.
        let hard = default.hard.max(soft + Duration::from_secs(5));
        let hard = env.seconds("AGENTNET_SHUTDOWN_HARD_SECONDS", hard, soft..=hour * 2)?;
        Ok(Self { soft, hard })
    }
}
