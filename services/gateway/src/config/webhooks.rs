//! Posts to agents that come in over HTTP.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

/// Rules of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookRules {
    /// `GATEWAY_WEBHOOKS`: posts at once; 0 posts nothing. 16.
    pub at_once: usize,
    /// `GATEWAY_WEBHOOK_SECONDS`: how long an agent may take to answer. 10 s.
    pub within: Duration,
    /// `GATEWAY_WEBHOOK_POLL_SECONDS`: how often to ask for what is to be posted. 0.5 s.
    pub every: Duration,
    /// `GATEWAY_WEBHOOK_PRIVATE`: whether posts may go to private, loopback and link-local addresses: only where every agent
    /// may reach what this machine reaches. false.
    pub private: bool,
}

impl Default for WebhookRules {
    fn default() -> Self {
        Self {
            at_once: 16,
            within: Duration::from_secs(10),
            every: Duration::from_millis(500),
            private: false,
        }
    }
}

impl WebhookRules {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = Duration::from_millis(10)..=Duration::from_secs(60);
        Ok(Self {
            at_once: super::to_usize(env.integer("GATEWAY_WEBHOOKS", default.at_once as u64, 0..=1_000)?),
            within: env.seconds("GATEWAY_WEBHOOK_SECONDS", default.within, wait.clone())?,
            every: env.seconds("GATEWAY_WEBHOOK_POLL_SECONDS", default.every, wait)?,
            private: env.flag("GATEWAY_WEBHOOK_PRIVATE", default.private)?,
        })
    }
}
