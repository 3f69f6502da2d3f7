//! A node's settings: the original's defaults, and what its environment variables change.

use std::{path::PathBuf, time::Duration};

use agentnet_proto::{
    Security,
    envelope::{DEFAULT_MAX_PAYLOAD_BYTES, DEFAULT_TTL_MS},
    rpc::EnrolmentToken,
    signature::Deployment,
};
use serde_json::{Map, Value};

use crate::{
    auth::DEFAULT_KEY_DIR,
    error::{Error, ErrorKind},
    identity::Identity,
    inbox::GuardSettings,
    outbox::OutboxPolicy,
    streams::{DEFAULT_SILENCE, DEFAULT_STREAM_TIME},
};

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) agent_id: String,
    pub(crate) name: String,
    pub(crate) username: Option<String>,
    pub(crate) account_id: Option<String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) max_concurrency: usize,
    pub(crate) max_pending: usize,
    pub(crate) work_timeout: Duration,
    /// Longest time of a stream that is read.
    pub(crate) stream_time: Duration,
    /// How long nothing may be heard of one.
    pub(crate) stream_silence: Duration,
    pub(crate) max_payload_bytes: usize,
    pub(crate) guards: GuardSettings,
    pub(crate) drain_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) receipt_timeout: Duration,
    pub(crate) retry_attempts: u32,
    pub(crate) request_timeout: Duration,
    pub(crate) default_ttl: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) resolve_cache_ttl: Duration,
    pub(crate) outbox_max: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) outbox_policy: OutboxPolicy,
    pub(crate) outbox_file: Option<PathBuf>,
    pub(crate) dedupe_file: Option<PathBuf>,
    pub(crate) receipts_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) metrics_window: usize,
    pub(crate) dev_auth: bool,
    /// What the agent asks of the network; the network's own mode unless set.
    pub(crate) security: Option<Security>,
    pub(crate) deployment: Option<Deployment>,
    pub(crate) identity: Option<Identity>,
    pub(crate) identity_name: Option<String>,
    /// A variable that can't be used, with what is expected of it.
    pub(crate) bad_variable: Option<String>,
    pub(crate) key_dir: PathBuf,
    /// Leave to register for a key that the network doesn't know.
    pub(crate) enrolment_token: Option<EnrolmentToken>,
    /// Who acts for the account.
    pub(crate) via: Option<String>,
}

/// Usernames remembered.
pub(crate) const MAX_ACCOUNTS: usize = 10_000;

impl Config {
    pub(crate) fn new(agent_id: String, get: impl Fn(&str) -> Option<String>) -> Self {
        if get("AGENTNET_BLOB_DIR").is_some_and(|v| !v.trim().is_empty()) {
            tracing::warn!(
                "AGENTNET_BLOB_DIR is deprecated and has no effect: agents keep no blobs on their disk"
            );
        }
        let dev_auth = get("DEV_AUTH").is_some_and(|v| {
            matches!(v.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "y" | "on")
        });
        let enrolment_token = get("AGENTNET_ENROLMENT_TOKEN").filter(|v| !v.trim().is_empty());
        let enrolment_token = enrolment_token.map(|text| EnrolmentToken::new(text.trim()));
        let mut bad_variable = None;
        let security = parsed(&get, "AGENTNET_SECURITY", &mut bad_variable);
        let deployment = parsed(&get, "AGENTNET_DEPLOYMENT", &mut bad_variable);
        let key_dir = get("DEV_AUTH_KEY_DIR").filter(|v| !v.trim().is_empty());
        let number = |name: &str| get(name).and_then(|v| v.trim().parse::<f64>().ok()).filter(|n| *n >= 0.0);
        let resolve_cache_ttl = number("ACCOUNT_RESOLVE_CACHE_TTL_SECONDS")
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
            .unwrap_or(Duration::from_secs(60));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates; clamped"
        )]
        let metrics_window =
            number("AGENT_METRICS_WINDOW_SIZE").map_or(1024, |n| (n as usize).clamp(1, 1_000_000));
        Self {
            name: agent_id.clone(),
            agent_id,
            username: None,
            account_id: None,
            capabilities: Vec::new(),
            metadata: Map::new(),
            max_concurrency: 4,
            max_pending: 100,
            work_timeout: Duration::from_secs(30),
            stream_time: DEFAULT_STREAM_TIME,
            stream_silence: DEFAULT_SILENCE,
            max_payload_bytes: DEFAULT_MAX_PAYLOAD_BYTES,
            guards: GuardSettings {
                rate: Some((5.0, 10)),
                dedupe_ttl: Duration::from_secs(600),
                dedupe_max: 100_000,
                breaker_failures: 5,
                breaker_reset: Duration::from_secs(15),
            },
            drain_timeout: Duration::from_secs(20),
            flush_timeout: Duration::from_secs(5),
            receipt_timeout: Duration::from_millis(1500),
            retry_attempts: 2,
            request_timeout: Duration::from_secs(5),
            default_ttl: Duration::from_millis(DEFAULT_TTL_MS.unsigned_abs()),
            heartbeat: Duration::from_secs(12),
            resolve_cache_ttl,
            outbox_max: 1024,
            outbox_bytes: 64 * 1024 * 1024,
            outbox_policy: OutboxPolicy::Wait,
            outbox_file: None,
            dedupe_file: None,
            receipts_max: 8192,
            requests_max: 4096,
            metrics_window,
            dev_auth,
            security,
            deployment,
            identity: None,
            identity_name: None,
            bad_variable,
            key_dir: key_dir.map_or_else(|| PathBuf::from(DEFAULT_KEY_DIR), PathBuf::from),
            enrolment_token,
            via: None,
        }
    }
}

impl Config {
    /// The mode that the agent was told, if it was.
    pub(crate) fn told_security(&self) -> Result<Option<Security>, Error> {
        let wanted = self.wanted_security()?;
        Ok((self.security.is_some() || self.dev_auth).then_some(wanted))
    }

    /// The least strict mode that the agent goes along with. `AGENTNET_SECURITY` wins, else `DEV_AUTH=true` means signed.
    pub(crate) fn wanted_security(&self) -> Result<Security, Error> {
        if let Some(detail) = &self.bad_variable {
            return Err(Error::new(ErrorKind::InvalidArgument, detail.clone()));
        }
        match self.security {
            Some(Security::Open) if self.dev_auth => {
                let detail =
                    "AGENTNET_SECURITY=open and DEV_AUTH=true contradict each other; unset one of them";
                Err(Error::new(ErrorKind::InvalidArgument, detail))
            }
            Some(security) => Ok(security),
            None if self.dev_auth => Ok(Security::Signed),
            None => Ok(Security::Open),
        }
    }
}

/// A variable that is a word of its type; empty counts as unset.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    bad: &mut Option<String>,
) -> Option<T> {
    let text = get(name).filter(|text| !text.trim().is_empty())?;
    match text.trim().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            *bad = Some(format!("{name} can't be used: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_without_effect_says_so_once() {
        let with = |name: &'static str| move |asked: &str| (asked == name).then(|| ".blobs".to_owned());
        let start = |name| agentnet_local::testing::logged(|| Config::new("a".into(), with(name))).1;
        let lines = start("AGENTNET_BLOB_DIR");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("AGENTNET_BLOB_DIR is deprecated and has no effect: "), "{lines:?}");
        assert_eq!(start("DEV_AUTH_KEY_DIR"), Vec::<String>::new());
    }

    #[test]
    fn the_originals_defaults_and_variables() {
        let plain = Config::new("a".into(), |_| None);
        assert!(!plain.dev_auth);
        assert_eq!((plain.max_concurrency, plain.max_pending, plain.max_payload_bytes), (4, 100, 256_000));
        assert_eq!((plain.resolve_cache_ttl, plain.metrics_window), (Duration::from_secs(60), 1024));
        // The seed's table.
        let seconds = Duration::from_secs_f64;
        assert_eq!((plain.work_timeout, plain.drain_timeout), (seconds(30.0), seconds(20.0)));
        assert_eq!((plain.receipt_timeout, plain.retry_attempts), (seconds(1.5), 2));
        assert_eq!((plain.request_timeout, plain.default_ttl), (seconds(5.0), seconds(30.0)));
        assert_eq!((plain.heartbeat, plain.name.as_str()), (seconds(12.0), "a"));
        let guards = &plain.guards;
        assert_eq!((guards.rate, guards.dedupe_ttl), (Some((5.0, 10)), seconds(600.0)));
        assert_eq!((guards.breaker_failures, guards.breaker_reset), (5, seconds(15.0)));
        assert_eq!(plain.key_dir, PathBuf::from(".keys"));
        assert_eq!(agentnet_proto::schema_version::CURRENT, "1.2");
        let set = Config::new("a".into(), |name| {
            Some(
                match name {
                    "DEV_AUTH" => "Yes",
                    "ACCOUNT_RESOLVE_CACHE_TTL_SECONDS" => "0.5",
                    "AGENT_METRICS_WINDOW_SIZE" => "16",
                    _ => "",
                }
                .to_owned(),
            )
        });
        assert!(set.dev_auth);
        assert_eq!(set.wanted_security().unwrap(), Security::Signed);
        let with = |security: &'static str, dev_auth: &'static str| {
            let get = move |name: &str| match name {
                "AGENTNET_SECURITY" => Some(security.to_owned()),
                "DEV_AUTH" => Some(dev_auth.to_owned()),
                _ => None,
            };
            Config::new("a".into(), get).wanted_security().map_err(|error| error.kind())
        };
        assert_eq!(with(" Secure", "true"), Ok(Security::Secure));
        assert_eq!(with("open", "false"), Ok(Security::Open));
        assert_eq!(with("open", "true"), Err(ErrorKind::InvalidArgument));
        assert_eq!(with("closed", ""), Err(ErrorKind::InvalidArgument));
        assert_eq!(set.key_dir, PathBuf::from(".keys"));
        assert_eq!((set.resolve_cache_ttl, set.metrics_window), (Duration::from_millis(500), 16));
    }
}
