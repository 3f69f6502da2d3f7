//! Where the health endpoint listens.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ConfigError, Env};

/// Health and metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// `AGENTNET_HTTP_ADDR`, such as `0.0.0.0:8080`; port 0 takes a free one. Unset: not started.
    pub addr: Option<SocketAddr>,
    /// `AGENTNET_READY_TIMEOUT_SECONDS`: how long each readiness check may take. 2 s.
    pub check_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { addr: None, check_timeout: Duration::from_secs(2) }
    }
}

impl HttpConfig {
    /// Reads the section.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let addr = match env.get("AGENTNET_HTTP_ADDR") {
            None => None,
            Some(value) => Some(value.parse().map_err(|_| ConfigError::Invalid {
                variable: "AGENTNET_HTTP_ADDR".to_owned(),
                value,
                expected: "an IP address and port such as 0.0.0.0:8080".to_owned(),
            })?),
        };
        let check_timeout = env.seconds(
            "AGENTNET_READY_TIMEOUT_SECONDS",
            default.check_timeout,
            Duration::from_millis(10)..=Duration::from_secs(60),
        )?;
        Ok(Self { addr, check_timeout })
    }
}
