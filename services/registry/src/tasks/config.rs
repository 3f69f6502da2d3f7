//! What tasks can be told.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

/// Tasks section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskConfig {
    /// `AGENTNET_TASK_ACCEPT_SECONDS`: how long a worker has to accept a task that was given to it. 15 s.
    pub accept: Duration,
    /// `AGENTNET_TASK_LEASE_SECONDS`: how long a worker may be silent about a task. 30 s.
    pub lease: Duration,
    /// `AGENTNET_TASK_RETRY_SECONDS`: the pause before the second attempt; it doubles up to 60 s. 1 s.
    pub retry: Duration,
    /// `AGENTNET_TASK_INTERVAL_SECONDS`: how often to look without anything having happened. 0.25 s.
    pub interval: Duration,
    /// `AGENTNET_TASKS_PER_SUBMITTER`: most open tasks of one submitter, counted anew every 5 s. 100,000.
    pub per_submitter: i64,
    /// `TASK_RETENTION_DAYS`: tasks that ended are kept so long. 30 days.
    pub retention: Duration,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            accept: Duration::from_secs(15),
            lease: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            interval: Duration::from_millis(250),
            per_submitter: 100_000,
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl TaskConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let span = Duration::from_millis(50)..=Duration::from_secs(24 * 3600);
        let days = env.integer("TASK_RETENTION_DAYS", 30, 1..=36_500)?;
        Ok(Self {
            accept: env.seconds("AGENTNET_TASK_ACCEPT_SECONDS", default.accept, span.clone())?,
            lease: env.seconds("AGENTNET_TASK_LEASE_SECONDS", default.lease, span.clone())?,
            retry: env.seconds("AGENTNET_TASK_RETRY_SECONDS", default.retry, span.clone())?,
            interval: env.seconds("AGENTNET_TASK_INTERVAL_SECONDS", default.interval, span)?,
            per_submitter: i64::try_from(env.integer(
                "AGENTNET_TASKS_PER_SUBMITTER",
                default.per_submitter.unsigned_abs(),
                1..=10_000_000,
            )?)
            .unwrap_or(default.per_submitter),
            retention: Duration::from_secs(24 * 3600) * u32::try_from(days).unwrap_or(30),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert_eq!(TaskConfig::from_env(&Env::from_pairs::<&str, &str>([])).unwrap(), TaskConfig::default());
        for bad in [
            ("AGENTNET_TASK_LEASE_SECONDS", "0"),
            ("AGENTNET_TASKS_PER_SUBMITTER", "0"),
            ("TASK_RETENTION_DAYS", "never"),
        ] {
            assert_eq!(TaskConfig::from_env(&Env::from_pairs([bad])).unwrap_err().variable(), bad.0);
        }
    }
}
