//! The accounts the gateway acts for.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

use super::to_usize;

/// Rules of the pool of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatRules {
    /// `GATEWAY_MAX_LOGINS`: logins acted for at once; each has a connection to NATS. 1,000.
    pub max: usize,
    /// `GATEWAY_IDLE_SECONDS`: a login's connection that nobody used for so long is closed. 300 s.
    pub idle: Duration,
    /// `GATEWAY_RECHECK_SECONDS`: how long a login counts as good before the registry is asked again. 60 s.
    pub recheck: Duration,
}

impl Default for SeatRules {
    fn default() -> Self {
        Self { max: 1000, idle: Duration::from_secs(300), recheck: Duration::from_secs(60) }
    }
}

impl SeatRules {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
        Ok(Self {
            max: to_usize(env.integer("GATEWAY_MAX_LOGINS", default.max as u64, 1..=100_000)?),
            idle: env.seconds("GATEWAY_IDLE_SECONDS", default.idle, wait.clone())?,
            recheck: env.seconds("GATEWAY_RECHECK_SECONDS", default.recheck, wait)?,
        })
    }
}
