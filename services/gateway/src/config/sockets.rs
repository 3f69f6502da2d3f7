//! WebSockets.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

/// Rules of every WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRules {
    /// `GATEWAY_MAX_STREAMS`: WebSockets and event streams at once. 10,000.
    pub max: usize,
    /// `GATEWAY_PING_SECONDS`: how often the gateway pings. 30 s.
    pub ping_every: Duration,
    /// `GATEWAY_PONG_SECONDS`: how long a client may leave a ping unanswered. 30 s.
    pub pong_within: Duration,
    /// `GATEWAY_WRITE_SECONDS`: how long a client may not read while there is something for it. 10 s.
    pub write_within: Duration,
}

impl Default for SocketRules {
    fn default() -> Self {
        Self {
            max: 10_000,
            ping_every: Duration::from_secs(30),
            pong_within: Duration::from_secs(30),
            write_within: Duration::from_secs(10),
        }
    }
}

impl SocketRules {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = Duration::from_millis(100)..=Duration::from_secs(3600);
        Ok(Self {
            max: super::to_usize(env.integer("GATEWAY_MAX_STREAMS", default.max as u64, 1..=1_000_000)?),
            ping_every: env.seconds("GATEWAY_PING_SECONDS", default.ping_every, wait.clone())?,
            pong_within: env.seconds("GATEWAY_PONG_SECONDS", default.pong_within, wait.clone())?,
            write_within: env.seconds("GATEWAY_WRITE_SECONDS", default.write_within, wait)?,
        })
    }
}
