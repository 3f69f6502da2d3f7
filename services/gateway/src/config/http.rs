//! Addresses, and what a client may use up.

use std::{net::SocketAddr, time::Duration};

use agentnet_service::config::{ConfigError, Env};
use axum::http::Uri;
use ipnet::IpNet;

use super::{Listen, TlsFiles, to_usize};

/// Addresses, and what a client may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRules {
    /// `GATEWAY_LISTEN`: one or more `address:port` with commas between them; port 0 takes a free one. `127.0.0.1:8000`.
    /// Before an address may stand whose front door it is: `connect=`, `chat=`, `p2p=`.
    pub listen: Vec<Listen>,
    /// `GATEWAY_TLS_CERT` and `GATEWAY_TLS_KEY`: TLS on every listener.
    pub tls: Option<TlsFiles>,
    /// `GATEWAY_TRUSTED_PROXIES`: addresses and networks whose `X-Forwarded-For` is believed. None.
    pub proxies: Vec<IpNet>,
    /// `GATEWAY_CORS_ORIGINS`: whose pages may call from a browser.
    pub origins: Origins,
    /// `GATEWAY_MAX_BODY_BYTES`: largest request body. 1 MiB.
    pub max_body: usize,
    /// `GATEWAY_HEADER_SECONDS`: how long a client may take to send the head of a request. 10 s.
    pub header_timeout: Duration,
    /// `GATEWAY_REQUEST_SECONDS`: how long an answer may take, live streams and files excepted. 60 s.
    pub request_timeout: Duration,
    /// `GATEWAY_MAX_BLOB_BYTES`: largest file taken; the registry has a limit of its own. 100 MiB.
    pub max_blob: u64,
    /// `GATEWAY_TRANSFER_IDLE_SECONDS`: how long nothing of a file may come, or be taken. 30 s.
    pub transfer_idle: Duration,
    /// `GATEWAY_MAX_CONNECTIONS`: connections at once, over all listeners. 8,192.
    pub max_connections: usize,
}

impl Default for HttpRules {
    fn default() -> Self {
        Self {
            listen: vec![Listen::all(SocketAddr::from(([127, 0, 0, 1], 8000)))],
            tls: None,
            proxies: Vec::new(),
            origins: Origins::None,
            max_body: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            max_blob: 100 * 1024 * 1024,
            transfer_idle: Duration::from_secs(30),
            max_connections: 8192,
        }
    }
}

impl HttpRules {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = Duration::from_millis(100)..=Duration::from_secs(3600);
        Ok(Self {
            listen: listen(env, default.listen)?,
            tls: TlsFiles::from_env(env)?,
            proxies: proxies(env)?,
            origins: Origins::from_env(env)?,
            max_body: to_usize(env.integer(
                "GATEWAY_MAX_BODY_BYTES",
                default.max_body as u64,
                1024..=1024 * 1024 * 1024,
            )?),
            header_timeout: env.seconds("GATEWAY_HEADER_SECONDS", default.header_timeout, wait.clone())?,
            request_timeout: env.seconds("GATEWAY_REQUEST_SECONDS", default.request_timeout, wait.clone())?,
            max_blob: env.integer("GATEWAY_MAX_BLOB_BYTES", default.max_blob, 1..=4 << 30)?,
            transfer_idle: env.seconds("GATEWAY_TRANSFER_IDLE_SECONDS", default.transfer_idle, wait)?,
            max_connections: to_usize(env.integer(
                "GATEWAY_MAX_CONNECTIONS",
                default.max_connections as u64,
                1..=1_000_000,
            )?),
        })
    }
}

/// Addresses and networks with commas between them.
fn proxies(env: &Env) -> Result<Vec<IpNet>, ConfigError> {
    let name = "GATEWAY_TRUSTED_PROXIES";
    let Some(text) = env.get(name) else { return Ok(Vec::new()) };
    let one = |part: &str| {
        part.trim().parse().or_else(|_| part.trim().parse().map(|ip: std::net::IpAddr| ip.into()))
    };
    let parsed: Result<Vec<IpNet>, _> = text.split(',').map(one).collect();
    parsed.map_err(|_| ConfigError::Invalid {
        variable: name.to_owned(),
        value: text,
        expected: "IP addresses and networks such as 10.0.0.5,192.168.0.0/16".to_owned(),
    })
}

fn listen(env: &Env, default: Vec<Listen>) -> Result<Vec<Listen>, ConfigError> {
    let name = "GATEWAY_LISTEN";
    let Some(text) = env.get(name) else { return Ok(default) };
    let parsed: Result<Vec<Listen>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    parsed.map_err(|_| ConfigError::Invalid {
        variable: name.to_owned(),
        value: text,
        expected: "IP addresses with ports such as 127.0.0.1:8000,chat=127.0.0.1:8765".to_owned(),
    })
}

/// Whose pages may call from a browser, besides the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Nobody's.
    None,
    /// Anybody's: `*`.
    Any,
    /// Those of these origins, such as `https://app.example`.
    List(Vec<String>),
}

impl Origins {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let name = "GATEWAY_CORS_ORIGINS";
        let Some(text) = env.get(name) else { return Ok(Self::None) };
        if text == "*" {
            return Ok(Self::Any);
        }
        let list: Vec<String> = text.split(',').map(|part| part.trim().to_ascii_lowercase()).collect();
        if list.iter().all(|origin| is_origin(origin)) {
            return Ok(Self::List(list));
        }
        Err(ConfigError::Invalid {
            variable: name.to_owned(),
            value: text,
            expected: "origins such as https://app.example,http://localhost:5173, or *".to_owned(),
        })
    }

    /// Whether pages of the origin may call.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::List(list) => list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && !text.ends_with('/')
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
}
