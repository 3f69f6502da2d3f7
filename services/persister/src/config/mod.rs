//! Configuration of the persister.

mod stream;

use std::time::Duration;

use agentnet_proto::{
    Security, SharedClock, SystemClock, envelope::DEFAULT_MAX_PAYLOAD_BYTES, signature::Deployment,
};
use agentnet_service::config::{ConfigError, Env, deployment, security};
use secrecy::SecretString;

use crate::progress::AlarmConfig;

pub use self::stream::StreamConfig;

/// Everything the persister can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`, required: there is no memory mode.
    pub database_url: SecretString,
    /// `PERSISTER_BATCH_MAX`: most messages of one transaction. 500.
    pub batch_max: usize,
    /// `AGENTNET_MAX_PAYLOAD_BYTES`: larger envelopes are refused. 256,000, the limit of agents.
    pub max_message_bytes: usize,
    /// `TOKEN_ESTIMATE_CHARS_PER_TOKEN`: bytes of payload that count as one token. 4.
    pub chars_per_token: u32,
    /// `PERSISTER_START_SECONDS`: how long to wait at the start for Postgres and JetStream. 60 s.
    pub start_deadline: Duration,
    /// The stream and its consumer.
    pub stream: StreamConfig,
    /// `AGENTNET_SECURITY` and `DEV_AUTH`.
    pub security: Security,
    /// `AGENTNET_DEPLOYMENT`: the network's name, which signatures cover. `agentnet`; required in secure mode.
    pub deployment: Deployment,
    /// When it says that it isn't well.
    pub alarm: AlarmConfig,
    /// Where time comes from; the machine's clock.
    pub clock: SharedClock,
    /// Breaks the promise of the whole network: confirms and acknowledges before COMMIT, so that the fault harness can
    /// show that it would notice. No variable sets it.
    #[cfg(feature = "faulty")]
    pub acknowledges_before_commit: bool,
}

impl Config {
    /// The defaults around a database.
    pub fn new(database_url: SecretString) -> Self {
        Self {
            database_url,
            batch_max: stream::DEFAULT_BATCH_MAX,
            max_message_bytes: DEFAULT_MAX_PAYLOAD_BYTES,
            chars_per_token: 4,
            start_deadline: Duration::from_secs(60),
            stream: StreamConfig::default(),
            security: Security::default(),
            deployment: Deployment::default(),
            alarm: AlarmConfig::default(),
            clock: SystemClock::shared(),
            #[cfg(feature = "faulty")]
            acknowledges_before_commit: false,
        }
    }

    /// Reads every section; the first bad variable is the error.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let expected = "postgres://user:password@host:port/database";
        let default = Self::new(env.required_secret("DATABASE_URL", expected)?);
        let wait = Duration::from_secs(1)..=Duration::from_secs(3600);
        warn_about_legacy(env);
        let security = security(env)?;
        let batch_max = to_usize(env.integer("PERSISTER_BATCH_MAX", default.batch_max as u64, 1..=10_000)?);
        Ok(Self {
            batch_max,
            max_message_bytes: to_usize(env.integer(
                "AGENTNET_MAX_PAYLOAD_BYTES",
                default.max_message_bytes as u64,
                1_024..=64 * 1_024 * 1_024,
            )?),
            chars_per_token: chars_per_token(env, default.chars_per_token)?,
            start_deadline: env.seconds("PERSISTER_START_SECONDS", default.start_deadline, wait)?,
            stream: StreamConfig { batch_max, ..StreamConfig::from_env(env)? },
            security,
            deployment: deployment(env, security)?,
            alarm: alarm(env, default.alarm)?,
            ..default
        })
    }
}

fn alarm(env: &Env, default: AlarmConfig) -> Result<AlarmConfig, ConfigError> {
    let range = Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 3600);
    Ok(AlarmConfig {
        max_lag: env.seconds("PERSISTER_MAX_LAG_SECONDS", default.max_lag, range.clone())?,
        gap_alarm: env.seconds("PERSISTER_GAP_ALARM_SECONDS", default.gap_alarm, range)?,
    })
}

fn chars_per_token(env: &Env, default: u32) -> Result<u32, ConfigError> {
    // The original takes anything below 1 as 1.
    let value = env.integer("TOKEN_ESTIMATE_CHARS_PER_TOKEN", default.into(), 0..=1_000_000)?;
    Ok(u32::try_from(value).unwrap_or(default).max(1))
}

fn warn_about_legacy(env: &Env) {
    let hint = "batches form by themselves; PERSISTER_BATCH_MAX limits them";
    for name in ["DB_WRITE_BATCH_ENABLED", "DB_WRITE_BATCH_SIZE", "DB_WRITE_FLUSH_MS"] {
        env.deprecated(name, hint);
    }
    env.deprecated("DB_WRITE_QUEUE_MAX", "the stream is the queue; AGENTNET_STREAM_MAX_BYTES limits it");
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let url = ("DATABASE_URL", "postgres://u:hush@h/d");
        Config::from_env(&Env::from_pairs(pairs.iter().copied().chain([url])))
    }

    #[test]
    fn the_database_is_required_and_its_password_never_prints() {
        let error = Config::from_env(&Env::from_pairs::<&str, &str>([])).unwrap_err();
        assert_eq!(error.variable(), "DATABASE_URL");
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("hush"));
    }

    #[test]
    fn defaults_and_limits() {
        let config = read(&[]).unwrap();
        assert_eq!((config.batch_max, config.chars_per_token, config.max_message_bytes), (500, 4, 256_000));
        assert_eq!(config.security, Security::Open);
        assert_eq!(read(&[("TOKEN_ESTIMATE_CHARS_PER_TOKEN", "0")]).unwrap().chars_per_token, 1);
        for (name, bad) in
            [("PERSISTER_BATCH_MAX", "0"), ("AGENTNET_MAX_PAYLOAD_BYTES", "1"), ("DEV_AUTH", "maybe")]
        {
            assert_eq!(read(&[(name, bad)]).unwrap_err().variable(), name);
        }
        // Without effect, whatever they hold.
        assert!(read(&[("DB_WRITE_BATCH_SIZE", "many"), ("DB_WRITE_FLUSH_MS", "-1")]).is_ok());
    }
}
