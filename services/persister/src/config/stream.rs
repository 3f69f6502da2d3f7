//! Size and timing of the stream and its consumer.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

/// Most messages of one transaction unless set.
pub(super) const DEFAULT_BATCH_MAX: usize = 500;

/// Stream section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// `AGENTNET_STREAM_MAX_BYTES`: what may wait for Postgres; a full stream makes senders wait. 1 GiB.
    pub max_bytes: i64,
    /// `AGENTNET_STREAM_REPLICAS`: servers of a cluster that hold each message. 1.
    pub replicas: usize,
    /// Most messages of one transaction, as `registry.metrics` reports it: [`Config::batch_max`](super::Config).
    pub batch_max: usize,
    /// After how long without a sign from us the stream gives a message to another replica. 5 s.
    pub ack_wait: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            replicas: 1,
            batch_max: DEFAULT_BATCH_MAX,
            ack_wait: Duration::from_secs(5),
        }
    }
}

impl StreamConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let max_bytes = env.integer("AGENTNET_STREAM_MAX_BYTES", 1 << 30, 1 << 20..=1 << 50)?;
        let replicas = env.integer("AGENTNET_STREAM_REPLICAS", 1, 1..=5)?;
        Ok(Self {
            max_bytes: i64::try_from(max_bytes).unwrap_or(default.max_bytes),
            replicas: usize::try_from(replicas).unwrap_or(default.replicas),
            ..default
        })
    }
}
