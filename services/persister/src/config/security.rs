//! How much the network asks of its agents.

use agentnet_service::config::{ConfigError, Env};

/// `AGENTNET_SECURITY`; `DEV_AUTH=true` makes `signed` out of `open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// A shared token; unsigned envelopes are taken.
    #[default]
    Open,
    /// A shared token; envelopes are signed.
    Signed,
    /// A key per agent.
    Secure,
}

impl Security {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let words = [("open", Self::Open), ("signed", Self::Signed), ("secure", Self::Secure)];
        let named = env.choice("AGENTNET_SECURITY", Self::Open, &words)?;
        let dev_auth = env.flag("DEV_AUTH", false)?;
        Ok(if dev_auth && named == Self::Open { Self::Signed } else { named })
    }

    /// Whether agents may answer on each other's `_INBOX.` subjects, where only a tap sees it.
    pub const fn has_legacy_replies(self) -> bool {
        matches!(self, Self::Open | Self::Signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_auth_means_at_least_signed() {
        let read = |pairs: &[(&str, &str)]| Security::from_env(&Env::from_pairs(pairs.iter().copied()));
        assert_eq!(read(&[]), Ok(Security::Open));
        assert_eq!(read(&[("DEV_AUTH", "true"), ("AGENTNET_SECURITY", "open")]), Ok(Security::Signed));
        assert_eq!(read(&[("DEV_AUTH", "true"), ("AGENTNET_SECURITY", "secure")]), Ok(Security::Secure));
        assert_eq!(read(&[("AGENTNET_SECURITY", "Signed")]), Ok(Security::Signed));
        assert!(read(&[("AGENTNET_SECURITY", "closed")]).is_err());
    }
}
