//! Where NATS is, how to log in, how to stay connected.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use agentnet_proto::signature::SecretKey;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{ConfigError, Env};

/// `NATS_URL` when unset: the address inside the compose network.
pub const DEFAULT_NATS_URL: &str = "nats://agentnet_secret_token@nats:4222";

const EXPECTED_URL: &str = "nats://[token or user:password@]host[:port], several separated by commas";

/// One server address, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServer {
    /// Host name or IP address (IPv6 in brackets).
    pub host: String,
    /// TCP port, 4222 unless given.
    pub port: u16,
    /// `tls://` was asked for.
    pub tls: bool,
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Credentials taken out of the URL, so that printing a configuration can't show them.
#[derive(Clone, Debug, Default)]
pub enum NatsAuth {
    /// None.
    #[default]
    Open,
    /// A shared token.
    Token(SecretString),
    /// User name and password.
    UserPassword(String, SecretString),
    /// Seed of an nkey (`S...`): the server sends a nonce, the client signs it.
    NkeySeed(SecretString),
}

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
        let (servers, auth) = parse(url).map_err(|problem| ConfigError::InvalidSecret {
            variable: "NATS_URL".to_owned(),
            problem: problem.to_owned(),
            expected: EXPECTED_URL.to_owned(),
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
        let names: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        names.join(",")
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

fn parse(text: &str) -> Result<(Vec<NatsServer>, NatsAuth), &'static str> {
    let mut servers = Vec::new();
    let mut auth = NatsAuth::Open;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (server, found) = parse_one(part)?;
        servers.push(server);
        // One login for the whole cluster: the first that is given.
        if matches!(auth, NatsAuth::Open) {
            auth = found;
        }
    }
    if servers.is_empty() { Err("it names no server") } else { Ok((servers, auth)) }
}

fn parse_one(part: &str) -> Result<(NatsServer, NatsAuth), &'static str> {
    let full = if part.contains("://") { part.to_owned() } else { format!("nats://{part}") };
    let url = Url::parse(&full).map_err(|_| "it is not a URL")?;
    let tls = match url.scheme() {
        "nats" => false,
        "tls" => true,
        _ => return Err("its scheme is neither nats nor tls"),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?.to_owned();
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("it has a path, query or fragment");
    }
    let user = decode(url.username()).ok_or("its user part is not percent-encoded UTF-8")?;
    let auth = match (user.is_empty(), url.password()) {
        (true, None) => NatsAuth::Open,
        (false, None) => NatsAuth::Token(user.into()),
        (_, Some(password)) => {
            let password = decode(password).ok_or("its password is not percent-encoded UTF-8")?;
            NatsAuth::UserPassword(user, password.into())
        }
    };
    Ok((NatsServer { host, port: url.port().unwrap_or(4222), tls }, auth))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn token_and_password_leave_the_url() {
        let config = NatsConfig::from_url("nats://s3cr%40et@localhost:4333").unwrap();
        assert!(matches!(&config.auth, NatsAuth::Token(token) if token.expose_secret() == "s3cr@et"));
        assert_eq!(config.redacted(), "localhost:4333");
        assert!(!format!("{config:?}").contains("s3cr"));

        let config = NatsConfig::from_url("tls://bob:pa55@a.example,nats://b.example:4223").unwrap();
        assert!(matches!(&config.auth, NatsAuth::UserPassword(user, password)
            if user == "bob" && password.expose_secret() == "pa55"));
        assert_eq!(config.redacted(), "a.example:4222,b.example:4223");
        assert!(config.servers[0].tls && !config.servers[1].tls);
        assert!(!format!("{config:?}").contains("pa55"));
    }

    #[test]
    fn short_forms() {
        assert_eq!(NatsConfig::from_url("localhost").unwrap().redacted(), "localhost:4222");
        assert_eq!(NatsConfig::from_url("tok@[::1]:5000").unwrap().redacted(), "[::1]:5000");
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
