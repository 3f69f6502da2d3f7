//! Where NATS is, how to log in, how to stay connected.

use std::path::PathBuf;
use std::time::Duration;

use agentnet_proto::nats_url::{self, NatsUrl};
pub use agentnet_proto::nats_url::{NatsAuth, NatsServer};
use agentnet_proto::signature::SecretKey;
use secrecy::{ExposeSecret as _, SecretString};

use super::{ConfigError, Env};

/// `NATS_URL` when unset: the address inside the compose network.
pub const DEFAULT_NATS_URL: &str = "nats://agentnet_secret_token@nats:4222";

/// TLS towards NATS, beyond what `tls://` in the URL asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// `AGENTNET_NATS_CA`: a PEM file with the certificates that the server's must come from; the system's unless set.
    pub ca: Option<PathBuf>,
    /// `AGENTNET_NATS_CERT` and `AGENTNET_NATS_KEY`: PEM files of the client's own certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// NATS section.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Servers of one cluster, at least one.
    pub servers: Vec<NatsServer>,
    /// How to log in. `AGENTNET_NKEY_SEED` or `AGENTNET_NKEY_SEED_FILE` (secure mode) before what the URL holds.
    pub auth: NatsAuth,
    /// Certificates.
    pub tls: NatsTls,
    /// How long the first connection may take before `nats_unavailable`. `AGENTNET_NATS_CONNECT_SECONDS`, 10 s.
    pub connect_deadline: Duration,
    /// Longest pause between two reconnection attempts, which go on for ever.
    /// `AGENTNET_NATS_RECONNECT_MAX_SECONDS`, 2 s.
    pub reconnect_max: Duration,
    /// Messages a subscription holds before the client drops (and counts) further ones.
    /// `AGENTNET_NATS_SUBSCRIPTION_CAPACITY`, 65 536.
    pub subscription_capacity: usize,
    /// Outgoing commands held before a publisher waits. `AGENTNET_NATS_SEND_CAPACITY`, 4 096.
    pub send_capacity: usize,
    /// Ping interval, which bounds how late a dead connection is noticed.
    pub ping_interval: Duration,
    /// Prefix of the connection's own reply subjects; `_INBOX` unless the service says otherwise.
    pub inbox_prefix: Option<String>,
}

impl NatsConfig {
    /// Defaults around the servers and credentials of `url`.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let NatsUrl { servers, auth } =
            NatsUrl::parse(url).map_err(|problem| ConfigError::InvalidSecret {
                variable: "NATS_URL".to_owned(),
                problem: problem.to_string(),
                expected: format!("{}, several separated by commas", NatsUrl::SHAPE),
            })?;
        Ok(Self {
            servers,
            auth,
            tls: NatsTls::default(),
            connect_deadline: Duration::from_secs(10),
            reconnect_max: Duration::from_secs(2),
            subscription_capacity: 65_536,
            send_capacity: 4_096,
            ping_interval: Duration::from_secs(20),
            inbox_prefix: None,
        })
    }

    /// Reads the section.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::from_url(&env.string("NATS_URL", DEFAULT_NATS_URL))?;
        let wait = Duration::from_millis(10)..=Duration::from_secs(600);
        let items = 16..=16_777_216;
        let seed = env.secret_or_file("AGENTNET_NKEY_SEED", "AGENTNET_NKEY_SEED_FILE")?;
        let auth = match seed {
            Some(seed) => NatsAuth::NkeySeed(user_seed("AGENTNET_NKEY_SEED", seed)?),
            None => default.auth,
        };
        Ok(Self {
            auth,
            tls: NatsTls::from_env(env)?,
            connect_deadline: env.seconds(
                "AGENTNET_NATS_CONNECT_SECONDS",
                default.connect_deadline,
                wait.clone(),
            )?,
            reconnect_max: env.seconds("AGENTNET_NATS_RECONNECT_MAX_SECONDS", default.reconnect_max, wait)?,
            subscription_capacity: env.integer(
                "AGENTNET_NATS_SUBSCRIPTION_CAPACITY",
                default.subscription_capacity as u64,
                items.clone(),
            )? as usize,
            send_capacity: env.integer("AGENTNET_NATS_SEND_CAPACITY", default.send_capacity as u64, items)?
                as usize,
            ..default
        })
    }

    /// The servers without any credential, for logs and errors: `nats.example:4222,nats2.example:4222`.
    pub fn redacted(&self) -> String {
        nats_url::redacted(&self.servers)
    }
}

impl NatsTls {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let path = |name: &str| env.get(name).map(PathBuf::from);
        let missing = |name: &str, other: &str| {
            Err(ConfigError::Missing {
                variable: name.to_owned(),
                expected: format!("a PEM file, as {other} is set"),
            })
        };
        let (cert, key) = ("AGENTNET_NATS_CERT", "AGENTNET_NATS_KEY");
        let client = match (path(cert), path(key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => return missing(key, cert),
            (None, Some(_)) => return missing(cert, key),
            (None, None) => None,
        };
        Ok(Self { ca: path("AGENTNET_NATS_CA"), client })
    }
}

/// A seed that NATS takes for a user, read from `variable`.
///
/// # Errors
/// Any other text, which isn't shown.
pub fn user_seed(variable: &str, seed: SecretString) -> Result<SecretString, ConfigError> {
    match SecretKey::from_nkey_seed(seed.expose_secret()) {
        Ok(_) => Ok(seed),
        Err(_) => Err(ConfigError::InvalidSecret {
            variable: variable.to_owned(),
            problem: "it is no seed of a NATS user".to_owned(),
            expected: "SU and 56 more letters and digits".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_default_is_the_compose_network() {
        let config = NatsConfig::from_env(&Env::from_pairs::<&str, &str>([])).unwrap();
        assert_eq!(config.redacted(), "nats:4222");
        assert!(matches!(config.auth, NatsAuth::Token(_)));
    }

    #[test]
    fn a_seed_wins_and_certificates_come_in_pairs() {
        let read = |pairs: &[(&str, &str)]| NatsConfig::from_env(&Env::from_pairs(pairs.iter().copied()));
        let seed = SecretKey::from_seed(&[3; 32]).expose_nkey_seed();
        let config = read(&[("NATS_URL", "tls://tok3n@h:1"), ("AGENTNET_NKEY_SEED", &seed)]).unwrap();
        assert!(matches!(&config.auth, NatsAuth::NkeySeed(found) if found.expose_secret() == seed.as_str()));
        assert!(!format!("{config:?}").contains(&*seed));
        let error = read(&[("AGENTNET_NKEY_SEED", "SUhush")]).unwrap_err();
        assert_eq!(error.variable(), "AGENTNET_NKEY_SEED");
        assert!(!error.to_string().contains("hush"));
        let pair = [("AGENTNET_NATS_CERT", "/c"), ("AGENTNET_NATS_KEY", "/k"), ("AGENTNET_NATS_CA", "/ca")];
        let tls = NatsTls { ca: Some("/ca".into()), client: Some(("/c".into(), "/k".into())) };
        assert_eq!(read(&pair).unwrap().tls, tls);
        assert_eq!(read(&pair[..1]).unwrap_err().variable(), "AGENTNET_NATS_KEY");
        assert_eq!(read(&pair[1..2]).unwrap_err().variable(), "AGENTNET_NATS_CERT");
    }

    #[test]
    fn bad_urls_are_refused_without_showing_them() {
        for bad in
            ["http://tok3n@host", "nats://tok3n@", "nats://tok3n@host:99999", "nats://tok3n@h/path", " , "]
        {
            let error = NatsConfig::from_env(&Env::from_pairs([("NATS_URL", bad)])).unwrap_err();
            assert_eq!(error.variable(), "NATS_URL");
            assert!(!error.to_string().contains("tok3n"), "{error}");
            assert!(error.to_string().contains("nats://"), "{error}");
        }
    }
}
