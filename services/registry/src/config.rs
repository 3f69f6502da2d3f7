//! Everything the registry can be told by the environment.

use std::time::Duration;

use agentnet_proto::rpc::{MAX_MEMBERS, MOST_MEMBERS};
use agentnet_proto::signature::{Deployment, PublicKey};
use agentnet_proto::{Security, SharedClock, SystemClock};
use agentnet_service::config::{ConfigError, Env, deployment, security};
use agentnet_store::StoreConfig;
use secrecy::{ExposeSecret as _, SecretString};

use crate::blobs::BlobConfig;
use crate::callout::{self, CalloutConfig};
use crate::enrolment::Enrolment;
use crate::redelivery::RedeliveryConfig;
use crate::tasks::TaskConfig;
use crate::users::PasswordCost;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest secret, in bytes.
const MIN_SECRET: usize = 32;

/// Variables of the original that have no effect any more, and why.
const DEPRECATED: [(&str, &str); 11] = [
    ("THREAD_SOFT_LIMIT_TOKENS", "thread limits are the agents' business"),
    ("THREAD_HARD_LIMIT_TOKENS", "thread limits are the agents' business"),
    ("THREAD_KEEP_TAIL_MESSAGES", "compaction is the agents' business"),
    ("THREAD_COMPACTION_EVENT_ENABLED", "compaction is the agents' business"),
    ("THREAD_COMPACTION_EVENT_COOLDOWN_SECONDS", "compaction is the agents' business"),
    ("DB_WRITE_BATCH_ENABLED", "the persister writes messages, always in batches"),
    ("DB_WRITE_BATCH_SIZE", "the persister writes messages and sizes its own batches"),
    ("DB_WRITE_FLUSH_MS", "the persister writes messages and times its own batches"),
    ("DB_WRITE_QUEUE_MAX", "the JetStream stream is the queue"),
    ("AGENTNET_LOGS", "use LOG_LEVEL"),
    ("AGENTNET_PRESENTATION_LOGS", "use LOG_LEVEL"),
];

/// The registry's sections of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`, required; pool and timeouts.
    pub store: StoreConfig,
    /// `AGENTNET_DB_CONNECT_SECONDS`: how long to wait for Postgres at start. 30 s.
    pub db_connect: Duration,
    /// `REGISTRY_SERVER_ID`: names this replica in session tags and metrics. `registry`.
    pub server_id: String,
    /// `AGENT_TTL_SECONDS`: a session not heard of for so long is gone. 40 s.
    pub ttl: Duration,
    /// `GC_INTERVAL_SECONDS`: pause between two rounds of ending sessions and pruning. 5 s.
    pub gc_interval: Duration,
    /// `HEARTBEAT_INTERVAL_SECONDS`: how often agents are told to say hello. 12 s.
    pub heartbeat: Duration,
    /// `AGENTNET_PRESENCE_FLUSH_SECONDS`: how often `last_seen` is written to Postgres. 2 s.
    pub flush_interval: Duration,
    /// `AGENTNET_MAX_SESSIONS`: most sessions online; more are refused as busy. 100,000.
    pub max_sessions: usize,
    /// `SESSION_RETENTION_DAYS`: offline sessions are kept so long. 14 days, at least one.
    pub session_retention: Duration,
    /// `GUEST_RETENTION_DAYS`: accounts of guests are kept so long after they were there last. 2 days, at least one.
    pub guest_retention: Duration,
    /// `THREAD_RETENTION_DAYS`: threads without activity are kept so long. 30 days, at least one.
    pub thread_retention: Duration,
    /// What couldn't be stored is kept for inspection so long. 30 days.
    pub quarantine_retention: Duration,
    /// `AGENTNET_THREAD_MEMBERS_MAX`: most members and invited accounts of a thread. 256, at most 1024.
    pub thread_members_max: usize,
    /// `TOKEN_ESTIMATE_CHARS_PER_TOKEN`, as reported with threads. 4, at least 1.
    pub chars_per_token: i64,
    /// `AGENTNET_SECURITY`, or `DEV_AUTH=true` for `signed`.
    pub security: Security,
    /// `AGENTNET_DEPLOYMENT`: the network's name, which signatures cover. `agentnet`; required in secure mode.
    pub deployment: Deployment,
    /// `AGENTNET_OPERATOR_KEYS`: accounts bound to one of these keys (base64url) are operators.
    pub operator_keys: Vec<String>,
    /// `AGENTNET_GATEWAY_KEYS`: keys of gateways (base64url or nkey), whose accounts the registry makes.
    pub gateway_keys: Vec<String>,
    /// `AGENTNET_SIGNUP`: whether people may make accounts for themselves. Off.
    pub signup: bool,
    /// `AGENTNET_TOKEN_SECRET` or its `_FILE`, at least 32 characters, the same for all replicas: seals the keys that sign
    /// access tokens. Nobody can log in without.
    pub token_secret: Option<SecretString>,
    /// `AGENTNET_TOKEN_KEY_DAYS`: after so long another key signs access tokens. 30 days.
    pub token_key_life: Duration,
    /// What hashing a password costs.
    pub password_cost: PasswordCost,
    /// Who may connect, in secure mode.
    pub callout: Option<CalloutConfig>,
    /// `AGENTNET_ENROLMENT`: what a key needs that the network doesn't know, in secure mode. `token`.
    pub enrolment: Enrolment,
    /// `AGENTNET_ENROLMENT_TOKEN` or its `_FILE`: the network's token, which lets any number of keys in.
    pub enrolment_token: Option<SecretString>,
    /// `DEV_AUTH_MAX_SKEW_SECONDS`: how far a signed timestamp may be off. 120 s.
    pub auth_max_skew: Duration,
    /// `DEV_AUTH_NONCE_TTL_SECONDS`: how long a used nonce is remembered, never less than twice the skew. 300 s.
    pub auth_nonce_ttl: Duration,
    /// `REGISTRY_METRICS_WINDOW_SIZE`: samples per latency. 1024.
    pub metrics_window: usize,
    /// Print the line `registry ready: ...` on stdout.
    pub announce: bool,
    /// Files.
    pub blobs: BlobConfig,
    /// `AGENTNET_WEBHOOK_FAILURES`: after how many failures in a row an agent's webhook is off. 10.
    pub webhook_failures: i32,
    /// Delivering again.
    pub redelivery: RedeliveryConfig,
    /// Tasks.
    pub tasks: TaskConfig,
    /// Where time comes from; the machine's clock.
    pub clock: SharedClock,
}

impl Config {
    /// The defaults around a database.
    pub fn new(store: StoreConfig) -> Self {
        Self {
            // Clients give up after 2 s, so nothing they wait for may take longer here.
            store: StoreConfig {
                acquire_timeout: Duration::from_millis(1200),
                statement_timeout: Duration::from_millis(1500),
                ..store
            },
            db_connect: Duration::from_secs(30),
            server_id: "registry".to_owned(),
            ttl: Duration::from_secs(40),
            gc_interval: Duration::from_secs(5),
            heartbeat: Duration::from_secs(12),
            flush_interval: Duration::from_secs(2),
            max_sessions: 100_000,
            session_retention: 14 * DAY,
            guest_retention: 2 * DAY,
            thread_retention: 30 * DAY,
            quarantine_retention: 30 * DAY,
            thread_members_max: MAX_MEMBERS,
            chars_per_token: 4,
            security: Security::Open,
            deployment: Deployment::default(),
            operator_keys: Vec::new(),
            gateway_keys: Vec::new(),
            signup: false,
            token_secret: None,
            token_key_life: 30 * DAY,
            password_cost: PasswordCost::default(),
            enrolment: Enrolment::Token,
            enrolment_token: None,
            callout: None,
            auth_max_skew: Duration::from_secs(120),
            auth_nonce_ttl: Duration::from_secs(300),
            metrics_window: 1024,
            announce: true,
            blobs: BlobConfig::default(),
            webhook_failures: 10,
            redelivery: RedeliveryConfig::default(),
            tasks: TaskConfig::default(),
            clock: SystemClock::shared(),
        }
    }

    /// Reads the sections.
    ///
    /// # Errors
    /// The first variable that is missing or can't be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let url = env.required_secret("DATABASE_URL", "postgres://user:password@host:port/database")?;
        let default = Self::new(StoreConfig::new(url, "agentnet-registry"));
        let mut store = default.store.clone();
        store.max_connections = u32::try_from(env.integer(
            "AGENTNET_DB_CONNECTIONS",
            u64::from(store.max_connections),
            1..=1000,
        )?)
        .unwrap_or(8);
        let tenth = Duration::from_millis(100);
        let span = tenth..=DAY;
        let auth_max_skew =
            env.seconds("DEV_AUTH_MAX_SKEW_SECONDS", default.auth_max_skew, Duration::ZERO..=DAY)?;
        let nonce_ttl =
            env.seconds("DEV_AUTH_NONCE_TTL_SECONDS", default.auth_nonce_ttl, Duration::ZERO..=DAY)?;
        let security = security(env)?;
        let config = Self {
            store,
            db_connect: env.seconds("AGENTNET_DB_CONNECT_SECONDS", default.db_connect, tenth..=DAY)?,
            server_id: server_id(env, &default.server_id)?,
            ttl: env.seconds("AGENT_TTL_SECONDS", default.ttl, span.clone())?,
            gc_interval: env.seconds("GC_INTERVAL_SECONDS", default.gc_interval, span.clone())?,
            heartbeat: env.seconds("HEARTBEAT_INTERVAL_SECONDS", default.heartbeat, span.clone())?,
            flush_interval: env.seconds("AGENTNET_PRESENCE_FLUSH_SECONDS", default.flush_interval, span)?,
            max_sessions: env.integer("AGENTNET_MAX_SESSIONS", default.max_sessions as u64, 1..=10_000_000)?
                as usize,
            session_retention: days(env, "SESSION_RETENTION_DAYS", 14)?,
            guest_retention: days(env, "GUEST_RETENTION_DAYS", 2)?,
            thread_retention: days(env, "THREAD_RETENTION_DAYS", 30)?,
            thread_members_max: env.integer(
                "AGENTNET_THREAD_MEMBERS_MAX",
                default.thread_members_max as u64,
                2..=MOST_MEMBERS as u64,
            )? as usize,
            chars_per_token: i64::try_from(env.integer(
                "TOKEN_ESTIMATE_CHARS_PER_TOKEN",
                4,
                0..=1_000_000,
            )?)
            .unwrap_or(4)
            .max(1),
            blobs: BlobConfig::from_env(env)?,
            redelivery: RedeliveryConfig::from_env(env)?,
            webhook_failures: i32::try_from(env.integer(
                "AGENTNET_WEBHOOK_FAILURES",
                u64::from(default.webhook_failures.unsigned_abs()),
                1..=1_000_000,
            )?)
            .unwrap_or(default.webhook_failures),
            tasks: TaskConfig::from_env(env)?,
            security,
            deployment: deployment(env, security)?,
            operator_keys: keys(env, "AGENTNET_OPERATOR_KEYS")?,
            gateway_keys: keys(env, "AGENTNET_GATEWAY_KEYS")?,
            signup: env.flag("AGENTNET_SIGNUP", default.signup)?,
            token_secret: token_secret(env)?,
            token_key_life: DAY
                * u32::try_from(env.integer("AGENTNET_TOKEN_KEY_DAYS", 30, 1..=3650)?).unwrap_or(30),
            enrolment: env.choice("AGENTNET_ENROLMENT", default.enrolment, &Enrolment::WORDS)?,
            enrolment_token: env
                .secret_or_file("AGENTNET_ENROLMENT_TOKEN", "AGENTNET_ENROLMENT_TOKEN_FILE")?,
            callout: match security {
                Security::Secure => Some(CalloutConfig::from_env(env)?),
                Security::Open | Security::Signed => None,
            },
            auth_max_skew,
            // A nonce forgotten while its timestamp still passes could be used twice.
            auth_nonce_ttl: nonce_ttl.max(auth_max_skew * 2),
            metrics_window: env.integer("REGISTRY_METRICS_WINDOW_SIZE", 1024, 1..=1_000_000)? as usize,
            ..default
        };
        if config.heartbeat >= config.ttl {
            tracing::warn!(
                "HEARTBEAT_INTERVAL_SECONDS is not below AGENT_TTL_SECONDS: agents will go offline between two hellos"
            );
        }
        for (name, why) in DEPRECATED {
            env.deprecated(name, why);
        }
        Ok(config)
    }
}

impl Config {
    /// How long a connection is let in for at most.
    pub(crate) fn connection_lifetime(&self) -> Duration {
        self.callout.as_ref().map_or(callout::DEFAULT_LIFETIME, |callout| callout.lifetime)
    }
}

fn days(env: &Env, name: &str, default: u64) -> Result<Duration, ConfigError> {
    let days = env.integer(name, default, 0..=36_500)?;
    Ok(DAY * u32::try_from(days).unwrap_or(1).max(1))
}

fn server_id(env: &Env, default: &str) -> Result<String, ConfigError> {
    let value = env.string("REGISTRY_SERVER_ID", default);
    if agentnet_proto::subject::is_safe_token(&value) && value.len() <= 64 {
        return Ok(value);
    }
    Err(ConfigError::Invalid {
        variable: "REGISTRY_SERVER_ID".to_owned(),
        value,
        expected: "up to 64 characters without dots, spaces, * and >".to_owned(),
    })
}

fn token_secret(env: &Env) -> Result<Option<SecretString>, ConfigError> {
    let variable = "AGENTNET_TOKEN_SECRET";
    let secret = env.secret_or_file(variable, "AGENTNET_TOKEN_SECRET_FILE")?;
    match secret {
        Some(short) if short.expose_secret().len() < MIN_SECRET => Err(ConfigError::InvalidSecret {
            variable: variable.to_owned(),
            problem: "it is too short".to_owned(),
            expected: format!("at least {MIN_SECRET} random characters"),
        }),
        secret => Ok(secret),
    }
}

fn keys(env: &Env, variable: &str) -> Result<Vec<String>, ConfigError> {
    let text = env.string(variable, "");
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let key = |word: &str| PublicKey::from_nkey(word).ok().or_else(|| word.parse().ok());
    let keys: Option<Vec<String>> = words.map(|word| Some(key(word)?.to_string())).collect();
    keys.ok_or_else(|| ConfigError::Invalid {
        variable: variable.to_owned(),
        value: text.clone(),
        expected: "public keys with commas between them, as `agentnet identity show` prints them".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let base = [("DATABASE_URL", "postgres://u:pw_7h3@localhost/db")];
        Config::from_env(&Env::from_pairs(base.into_iter().chain(pairs.iter().copied())))
    }

    #[test]
    fn defaults_are_the_originals() {
        let config = read(&[]).unwrap();
        assert_eq!(config.ttl, Duration::from_secs(40));
        assert_eq!(config.gc_interval, Duration::from_secs(5));
        assert_eq!(config.heartbeat, Duration::from_secs(12));
        assert_eq!(config.server_id, "registry");
        assert_eq!((config.session_retention, config.thread_retention), (14 * DAY, 30 * DAY));
        assert_eq!(config.guest_retention, 2 * DAY);
        assert_eq!((config.chars_per_token, config.metrics_window), (4, 1024));
        assert_eq!(config.auth_max_skew, Duration::from_secs(120));
        assert_eq!(config.auth_nonce_ttl, Duration::from_secs(300));
        assert_eq!(config.security, Security::Open);
        assert!(!format!("{config:?}").contains("pw_7h3"));
    }

    #[test]
    fn a_database_is_required() {
        let error = Config::from_env(&Env::from_pairs::<&str, &str>([])).unwrap_err();
        assert_eq!(error.variable(), "DATABASE_URL");
    }

    #[test]
    fn bounds_of_the_original() {
        let config = read(&[
            ("SESSION_RETENTION_DAYS", "0"),
            ("TOKEN_ESTIMATE_CHARS_PER_TOKEN", "0"),
            ("DEV_AUTH_NONCE_TTL_SECONDS", "1"),
            ("THREAD_SOFT_LIMIT_TOKENS", "x"),
        ])
        .unwrap();
        assert_eq!((config.session_retention, config.chars_per_token), (DAY, 1));
        assert_eq!(config.auth_nonce_ttl, Duration::from_secs(240));
        for bad in
            [("REGISTRY_SERVER_ID", "a.b"), ("AGENT_TTL_SECONDS", "-1"), ("GC_INTERVAL_SECONDS", "soon")]
        {
            assert_eq!(read(&[bad]).unwrap_err().variable(), bad.0);
        }
    }
}
