//! What redelivery can be told.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

/// Redelivery section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedeliveryConfig {
    /// `AGENTNET_REDELIVERY_WINDOW`: what one recipient may have in hand of what was delivered again. 64; the backlog of
    /// a node holds 100.
    pub window: u32,
    /// `AGENTNET_REDELIVERY_RATE`: messages a second of one registry. 5000.
    pub rate: u32,
    /// `AGENTNET_REDELIVERY_ACCOUNT_RATE`: messages a second to one recipient. 2500.
    pub account_rate: u32,
    /// `AGENTNET_MAX_DELIVERIES`: how often sessions may accept a message and be lost before it is dead. 5.
    pub max_deliveries: i32,
    /// `AGENTNET_REDELIVERY_INTERVAL_SECONDS`: how often to look for what is due without anybody having come. 1 s.
    pub interval: Duration,
    /// `AGENTNET_UNDELIVERED_LIMIT_SECONDS`: how long a message may wait for a recipient that is online before health
    /// turns red. 300 s.
    pub undelivered_limit: Duration,
}

impl Default for RedeliveryConfig {
    fn default() -> Self {
        Self {
            window: 64,
            rate: 5_000,
            account_rate: 2_500,
            max_deliveries: 5,
            interval: Duration::from_secs(1),
            undelivered_limit: Duration::from_secs(300),
        }
    }
}

impl RedeliveryConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let number = |name: &str, default: u32, most: u32| {
            env.integer(name, default.into(), 1..=most.into()).map(|n| u32::try_from(n).unwrap_or(default))
        };
        let span = Duration::from_millis(50)..=Duration::from_secs(30 * 24 * 3600);
        Ok(Self {
            window: number("AGENTNET_REDELIVERY_WINDOW", default.window, 1_000)?,
            rate: number("AGENTNET_REDELIVERY_RATE", default.rate, 1_000_000)?,
            account_rate: number("AGENTNET_REDELIVERY_ACCOUNT_RATE", default.account_rate, 1_000_000)?,
            max_deliveries: i32::try_from(number("AGENTNET_MAX_DELIVERIES", 5, 1_000)?)
                .unwrap_or(default.max_deliveries),
            interval: env.seconds("AGENTNET_REDELIVERY_INTERVAL_SECONDS", default.interval, span.clone())?,
            undelivered_limit: env.seconds(
                "AGENTNET_UNDELIVERED_LIMIT_SECONDS",
                default.undelivered_limit,
                span,
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_limits() {
        let read =
            |pairs: &[(&str, &str)]| RedeliveryConfig::from_env(&Env::from_pairs(pairs.iter().copied()));
        assert_eq!(read(&[]), Ok(RedeliveryConfig::default()));
        assert_eq!(read(&[("AGENTNET_MAX_DELIVERIES", "2")]).unwrap().max_deliveries, 2);
        for name in ["AGENTNET_REDELIVERY_WINDOW", "AGENTNET_REDELIVERY_RATE", "AGENTNET_MAX_DELIVERIES"] {
            assert_eq!(read(&[(name, "0")]).unwrap_err().variable(), name);
        }
    }
}
