//! Leave for unknown keys to register.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// A token that lets an unknown key register. A secret: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EnrolmentToken(String);

impl EnrolmentToken {
    /// A token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentToken(hidden)")
    }
}

/// Body of `registry.enrol`, by an operator: a token for keys that the network doesn't know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EnrolRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The existing account without a key that the key is bound to, by its id or username; a new one unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How many keys it lets in, 1 to 10,000; 1 unless given, and always 1 for an existing account.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub uses: Option<i64>,
    /// How long it is good, in seconds, at most 30 days; a day unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// For people, at most 256 characters.
    #[serde(default, deserialize_with = "lenient::trimmed", skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Answer to enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnrolResponse {
    /// The token. The network keeps its hash only: it isn't shown again.
    pub token: EnrolmentToken,
    /// The account that the key is bound to; absent for new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// How many keys it lets in.
    pub uses: i64,
    /// Until when, ISO 8601.
    pub expires_at: String,
}

rpc!(
    /// `registry.enrol`.
    Enrol, Enrol, EnrolRequest, EnrolResponse
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let token = EnrolmentToken::new("s3cret");
        assert!(!format!("{token:?}").contains("s3cret"));
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"s3cret\"");
    }
}
