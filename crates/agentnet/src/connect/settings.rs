//! Where NATS is, how to log in, how to stay connected.

use std::{fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::context;
use crate::error::{Error, ErrorKind};

/// The variables that name the network, the first that is set.
pub const URL_VARIABLES: [&str; 2] = ["AGENTNET_NATS_URL", "NATS_URL"];

/// Where agents look for NATS when nothing else is said: the quick start of the seed.
pub const LOCAL_NATS_URL: &str = "nats://agentnet_secret_token@localhost:4222";

/// `AGENTNET_NATS_URL`, else `NATS_URL`, else the network of this user's running `agentnet up`, else
/// `nats://agentnet_secret_token@localhost:4222`. Empty counts as unset.
///
/// The text may hold a token or password: don't print it.
pub fn default_nats_url() -> String {
    url_from(&|name| std::env::var(name).ok())
}

fn url_from(get: &dyn Fn(&str) -> Option<String>) -> String {
    URL_VARIABLES
        .into_iter()
        .filter_map(get)
        .find(|url| !url.trim().is_empty())
        .or_else(|| context::running(get).map(|context| context.nats_url))
        .unwrap_or_else(|| LOCAL_NATS_URL.to_owned())
}

/// One server address, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// Host name or IP address (IPv6 in brackets).
    pub host: String,
    /// TCP port, 4222 unless given.
    pub port: u16,
    /// Whether `tls://` was asked for.
    pub tls: bool,
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Credentials taken out of the URL, so that printing settings can't show them.
#[derive(Debug, Clone, Default)]
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

/// TLS towards NATS, beyond what `tls://` in the URL asks for: files in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// Certificates that the server's must come from; the system's unless set.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl NatsTls {
    /// `AGENTNET_NATS_CA`, `AGENTNET_NATS_CERT` and `AGENTNET_NATS_KEY`; the last two count together only.
    fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let path = |name: &str| get(name).filter(|path| !path.trim().is_empty()).map(PathBuf::from);
        Self {
            ca: path("AGENTNET_NATS_CA"),
            client: path("AGENTNET_NATS_CERT").zip(path("AGENTNET_NATS_KEY")),
        }
    }
}

/// How to connect. `Debug` shows no credentials.
///
/// The buffer sizes decide what an idle agent weighs and what a burst may hold; they are an agent's, not a service's.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Servers of one cluster, at least one.
    pub servers: Vec<NatsServer>,
    /// How to log in.
    pub auth: NatsAuth,
    /// Certificates; as the environment says unless set.
    pub tls: NatsTls,
    /// The connection's name, which operators see in the server's monitoring.
    pub name: String,
    /// How long the first connection may take; 5 s.
    pub connect_timeout: Duration,
    /// Longest pause between two reconnection attempts, which go on for ever; 2 s.
    pub reconnect_max: Duration,
    /// Ping interval, which bounds how late a dead connection is noticed; 20 s.
    pub ping_interval: Duration,
    /// Messages a subscription holds before further ones are dropped and counted; 8192. What is dropped of the inbox
    /// comes again by redelivery.
    pub subscription_capacity: usize,
    /// Outgoing messages held before a publisher waits; 1024.
    pub send_capacity: usize,
    /// Prefix of this connection's reply inboxes, `_INBOX` unless set.
    pub inbox_prefix: Option<String>,
}

impl NatsSettings {
    /// The connection's name unless set.
    pub(crate) const DEFAULT_NAME: &'static str = "agentnet";

    /// Defaults around the servers and credentials of `url`: `nats://[token or user:password@]host[:port]`, or `tls://`,
    /// several separated by commas. Certificates are those that `AGENTNET_NATS_CA`, `AGENTNET_NATS_CERT` and
    /// `AGENTNET_NATS_KEY` name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], which doesn't show the URL.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let (servers, auth) = parse(url).map_err(|problem| {
            let detail = format!(
                "the NATS URL can't be used: {problem}; expected nats://[token or user:password@]host[:port]"
            );
            Error::new(ErrorKind::InvalidArgument, detail)
        })?;
        Ok(Self {
            servers,
            auth,
            tls: NatsTls::from_lookup(&|name| std::env::var(name).ok()),
            name: Self::DEFAULT_NAME.to_owned(),
            connect_timeout: Duration::from_secs(5),
            reconnect_max: Duration::from_secs(2),
            ping_interval: Duration::from_secs(20),
            subscription_capacity: 8192,
            send_capacity: 1024,
            inbox_prefix: None,
        })
    }

    /// The same under another connection name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The servers without any credential, for logs and errors: `a.example:4222,b.example:4222`.
    pub fn redacted(&self) -> String {
        let names: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        names.join(",")
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

/// Undoes percent-encoding, which `Url` leaves in user names and passwords.
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
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn token_and_password_leave_the_url() {
        let settings = NatsSettings::from_url("nats://s3cr%40et@localhost:4333").unwrap();
        assert!(matches!(&settings.auth, NatsAuth::Token(token) if token.expose_secret() == "s3cr@et"));
        assert_eq!(settings.redacted(), "localhost:4333");
        assert!(!format!("{settings:?}").contains("s3cr"));

        let settings = NatsSettings::from_url("tls://bob:pa55@a.example,nats://b.example:4223").unwrap();
        assert!(matches!(&settings.auth, NatsAuth::UserPassword(user, password)
            if user == "bob" && password.expose_secret() == "pa55"));
        assert_eq!(settings.redacted(), "a.example:4222,b.example:4223");
        assert!(!format!("{settings:?}").contains("pa55"));
    }

    #[test]
    fn bad_urls_are_refused_without_showing_them() {
        for bad in
            ["http://tok3n@host", "nats://tok3n@", "nats://tok3n@h:99999", "nats://tok3n@h/path", " , ", "::"]
        {
            let error = NatsSettings::from_url(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
            assert!(!format!("{error} {error:?}").contains("tok3n"), "{error}");
        }
    }

    #[test]
    fn the_environment_decides_in_order() {
        let url = |pairs: &[(&str, &str)]| {
            url_from(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(url(&[("AGENTNET_NATS_URL", "a"), ("NATS_URL", "b")]), "a");
        assert_eq!(url(&[("AGENTNET_NATS_URL", " "), ("NATS_URL", "b")]), "b");
        assert_eq!(url(&[(context::PATH_VARIABLE, "/nowhere")]), LOCAL_NATS_URL);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("context.json");
        let mut up = context::Context {
            nats_url: "c".to_owned(),
            mode: "open".to_owned(),
            identity: None,
            enrolment_token: None,
            data_dir: dir.path().to_owned(),
            pid: std::process::id(),
            started_at: "2026-11-21T10:00:00Z".to_owned(),
            process_started: None,
            before: None,
        };
        context::write(&file, &up).unwrap();
        let file_name = file.to_string_lossy();
        assert_eq!(url(&[("NATS_URL", "b"), (context::PATH_VARIABLE, &file_name)]), "b");
        assert_eq!(url(&[(context::PATH_VARIABLE, &file_name)]), "c");
        std::fs::remove_file(&file).unwrap();
        up.pid = 4_194_999;
        context::write(&file, &up).unwrap();
        assert_eq!(url(&[(context::PATH_VARIABLE, &file_name)]), LOCAL_NATS_URL);
    }
}
