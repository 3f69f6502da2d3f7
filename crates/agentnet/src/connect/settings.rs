//! Where NATS is, how to log in, how to stay connected.

use std::{path::PathBuf, time::Duration};

use agentnet_proto::nats_url::{self, NatsUrl};

pub use agentnet_proto::nats_url::{NatsAuth, NatsServer};

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
        let NatsUrl { servers, auth } = NatsUrl::parse(url).map_err(|problem| {
            let detail = format!("the NATS URL can't be used: {problem}; expected {}", NatsUrl::SHAPE);
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
        nats_url::redacted(&self.servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_showing_it() {
        let error = NatsSettings::from_url("nats://tok3n@h/path").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!format!("{error} {error:?}").contains("tok3n"), "{error}");
        assert!(error.to_string().contains("nats://"), "{error}");
        let settings = NatsSettings::from_url("nats://s3cret@localhost:4333").unwrap();
        assert_eq!(settings.redacted(), "localhost:4333");
        assert!(!format!("{settings:?}").contains("s3cret"));
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
