//! Configuration of the gateway.

mod http;
mod listen;
mod rates;
mod seats;
mod sessions;
mod sockets;
mod tls;
mod webhooks;

use std::time::Duration;

use agentnet_proto::{Security, SharedClock, SystemClock, signature::Deployment};
use agentnet_service::config::{ConfigError, Env, deployment, security};
use secrecy::SecretString;

pub use self::{
    http::{HttpRules, Origins},
    listen::{Face, Listen},
    rates::Rates,
    seats::SeatRules,
    sessions::SessionRules,
    sockets::SocketRules,
    tls::TlsFiles,
    webhooks::WebhookRules,
};

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AGENTNET_SECURITY` and `DEV_AUTH`.
    pub security: Security,
    /// `AGENTNET_DEPLOYMENT`: the network's name, which signatures cover. `agentnet`; required in secure mode.
    pub deployment: Deployment,
    /// `GATEWAY_START_SECONDS`: how long to wait at the start for NATS and the registry. 60 s.
    pub start_deadline: Duration,
    /// `GATEWAY_KEY_SEED` or its `_FILE`: the seed (`SU...`) of the gateway's own key in signed mode; in secure mode that is
    /// `AGENTNET_NKEY_SEED`. The registry knows it by `AGENTNET_GATEWAY_KEYS`.
    pub key_seed: Option<SecretString>,
    /// Addresses, and what a client may use up.
    pub http: HttpRules,
    /// How often who may ask.
    pub rates: Rates,
    /// WebSockets.
    pub sockets: SocketRules,
    /// The accounts it acts for.
    pub seats: SeatRules,
    /// Chat sessions and questions to agents.
    pub sessions: SessionRules,
    /// Posts to agents that come in over HTTP.
    pub webhooks: WebhookRules,
    /// Where time comes from; the machine's clock.
    pub clock: SharedClock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            security: Security::default(),
            deployment: Deployment::default(),
            start_deadline: Duration::from_secs(60),
            key_seed: None,
            http: HttpRules::default(),
            rates: Rates::default(),
            sockets: SocketRules::default(),
            seats: SeatRules::default(),
            sessions: SessionRules::default(),
            webhooks: WebhookRules::default(),
            clock: SystemClock::shared(),
        }
    }
}

impl Config {
    /// Reads every section; the first bad variable is the error.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let security = security(env)?;
        let wait = Duration::from_secs(1)..=Duration::from_secs(3600);
        Ok(Self {
            security,
            deployment: deployment(env, security)?,
            start_deadline: env.seconds("GATEWAY_START_SECONDS", default.start_deadline, wait)?,
            key_seed: env.secret_or_file("GATEWAY_KEY_SEED", "GATEWAY_KEY_SEED_FILE")?,
            http: HttpRules::from_env(env)?,
            rates: Rates::from_env(env)?,
            sockets: SocketRules::from_env(env)?,
            seats: SeatRules::from_env(env)?,
            sessions: SessionRules::from_env(env)?,
            webhooks: WebhookRules::from_env(env)?,
            ..default
        })
    }
}

/// Whole numbers that fit.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(&Env::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn every_bad_variable_is_named() {
        assert!(read(&[]).is_ok());
        for (name, bad) in [
            ("GATEWAY_LISTEN", "localhost"),
            ("GATEWAY_LISTEN", "127.0.0.1:80,"),
            ("GATEWAY_LISTEN", "shout=127.0.0.1:80"),
            ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("GATEWAY_MAX_BLOB_BYTES", "0"),
            ("GATEWAY_HOSTING_SECONDS", "0"),
            ("GATEWAY_RELAY_LEASE_SECONDS", "0"),
            ("GATEWAY_CORS_ORIGINS", "app.example"),
            ("GATEWAY_CORS_ORIGINS", "https://app.example/path"),
            ("GATEWAY_MAX_BODY_BYTES", "0"),
            ("GATEWAY_HEADER_SECONDS", "0"),
            ("GATEWAY_RATE_LOGIN", "0"),
            ("GATEWAY_PING_SECONDS", "never"),
            ("GATEWAY_START_SECONDS", "0"),
            ("GATEWAY_WEBHOOK_SECONDS", "0"),
            ("GATEWAY_WEBHOOK_PRIVATE", "maybe"),
            ("GATEWAY_RATE_WORK", "0"),
            ("DEV_AUTH", "maybe"),
        ] {
            assert_eq!(read(&[(name, bad)]).unwrap_err().variable(), name, "{bad}");
        }
        // Certificate and key come together.
        assert_eq!(read(&[("GATEWAY_TLS_CERT", "a.pem")]).unwrap_err().variable(), "GATEWAY_TLS_KEY");
        assert_eq!(read(&[("GATEWAY_TLS_KEY", "a.pem")]).unwrap_err().variable(), "GATEWAY_TLS_CERT");
    }

    #[test]
    fn lists_of_addresses_and_origins() {
        let config = read(&[
            ("GATEWAY_LISTEN", "127.0.0.1:8000, [::1]:9001"),
            ("GATEWAY_CORS_ORIGINS", "https://app.example, http://localhost:5173"),
        ])
        .unwrap();
        assert_eq!(config.http.listen.len(), 2);
        assert!(config.http.origins.allows("https://app.example"));
        assert!(!config.http.origins.allows("https://app.example.evil.example"));
        assert!(read(&[("GATEWAY_CORS_ORIGINS", "*")]).unwrap().http.origins.allows("https://x.example"));
        assert!(!read(&[]).unwrap().http.origins.allows("https://x.example"));
    }
}
