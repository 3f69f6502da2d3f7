//! How a network proves who speaks: one setting for all of it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The security mode of a network, `AGENTNET_SECURITY`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// A shared NATS token, unsigned envelopes: whoever has the token may be anybody.
    #[default]
    Open,
    /// A shared NATS token; register requests and messages are signed. Content and sender of messages are proved, and
    /// nothing else.
    Signed,
    /// A NATS key per agent with permissions of its own; everything is signed.
    Secure,
}

impl Security {
    /// Every mode with its word.
    pub const WORDS: [(&'static str, Self); 3] =
        [("open", Self::Open), ("signed", Self::Signed), ("secure", Self::Secure)];

    /// The mode's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Signed => "signed",
            Self::Secure => "secure",
        }
    }

    /// Whether messages must be signed.
    #[must_use]
    pub const fn wants_signatures(self) -> bool {
        matches!(self, Self::Signed | Self::Secure)
    }

    /// Whether agents may answer on each other's `_INBOX.` subjects, as original SDKs do.
    #[must_use]
    pub const fn has_legacy_replies(self) -> bool {
        matches!(self, Self::Open | Self::Signed)
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a security mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a security mode is open, signed or secure")]
pub struct SecurityError;

impl FromStr for Security {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let found = Self::WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        found.map(|(_, mode)| *mode).ok_or(SecurityError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_back() {
        for (word, mode) in Security::WORDS {
            assert_eq!(mode.as_str(), word);
            assert_eq!(word.to_uppercase().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), word);
        }
        assert!("closed".parse::<Security>().is_err());
    }
}
