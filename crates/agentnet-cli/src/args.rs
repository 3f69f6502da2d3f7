//! Arguments that several commands share.

use std::time::Duration;

use agentnet::Target;

use crate::failure::Failure;

/// Longest time a person may ask to wait: a day.
const LONGEST: f64 = 86_400.0;

/// Reads seconds, with or without a fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("give seconds from 0.001 to {LONGEST}, such as 2 or 0.5"))
}

/// How long the registry may take.
#[derive(Debug, Clone, clap::Args)]
pub struct RpcTimeout {
    /// How long the registry may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub timeout: Duration,
}

/// Whom a message is for; exactly one.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct To {
    /// The account with this id
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub to_account: Option<String>,
    /// The account of this username
    #[arg(long, value_name = "USERNAME")]
    pub to_username: Option<String>,
    /// Any one agent with this capability
    #[arg(long, value_name = "CAPABILITY")]
    pub to_capability: Option<String>,
}

impl To {
    /// The target.
    ///
    /// # Errors
    /// `invalid_target`, `invalid_account_id` or `invalid_capability`.
    pub fn target(&self) -> Result<Target, Failure> {
        let target = match (&self.to_account, &self.to_username, &self.to_capability) {
            (Some(id), _, _) => Target::account(id),
            (_, Some(name), _) => Target::username(name),
            (_, _, Some(name)) => Target::capability(name),
            // clap requires one; an empty name is refused like any other that names nobody.
            (None, None, None) => Target::username(""),
        };
        Ok(target?)
    }
}

/// Token limits that the original had; threads are the agents' business since.
#[derive(Debug, Clone, clap::Args)]
pub struct OldLimits {
    /// Deprecated, has no effect
    #[arg(long, value_name = "TOKENS", hide = true)]
    pub soft_limit_tokens: Option<u64>,
    /// Deprecated, has no effect
    #[arg(long, value_name = "TOKENS", hide = true)]
    pub hard_limit_tokens: Option<u64>,
}

impl OldLimits {
    /// One line on standard error if one of them is given.
    pub fn warn(&self) {
        if self.soft_limit_tokens.is_some() || self.hard_limit_tokens.is_some() {
            crate::output::note(
                "note: --soft-limit-tokens and --hard-limit-tokens are deprecated and have no effect: \
                 agents manage their threads themselves",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "-1", "NaN", "inf", "1e9", "2s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
