//! What makes one signed request differ from its repetition.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Clock;
use crate::ids::IdGen;
use crate::timestamp::Timestamp;

/// The NATS header that carries the nonce of a signed request.
pub const NONCE_HEADER: &str = "Agentnet-Nonce";

/// `<milliseconds since 1970>-<32 hex digits>`. The time bounds how long the registry has to remember it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce {
    text: String,
    issued_at: Timestamp,
}

/// The text is not a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is `<milliseconds since 1970>-<32 lower-case hex digits>`")]
pub struct NonceError;

impl Nonce {
    /// A new one.
    #[must_use]
    pub fn new(clock: &dyn Clock, ids: &dyn IdGen) -> Self {
        // Before 1970 no machine's clock is right, and the text has no sign.
        let millis = clock.now().unix_millis().max(0);
        let issued_at = Timestamp::from_unix_millis(millis).unwrap_or(Timestamp::MAX);
        Self { text: format!("{millis}-{}", ids.nonce()), issued_at }
    }

    /// When it was made, by its maker's clock.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Whether it was made within `skew` of `now`, before or after.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp, skew: Duration) -> bool {
        (now.saturating_sub(skew)..=now.saturating_add(skew)).contains(&self.issued_at)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        let (millis, random) = text.split_once('-').ok_or(NonceError)?;
        let is_random =
            random.len() == 32 && random.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        // 15 digits reach the year 9999; one number has one spelling.
        let is_number = (1..=15).contains(&millis.len())
            && millis.bytes().all(|b| b.is_ascii_digit())
            && (millis == "0" || !millis.starts_with('0'));
        if !is_random || !is_number {
            return Err(NonceError);
        }
        let issued_at = millis.parse().ok().and_then(Timestamp::from_unix_millis).ok_or(NonceError)?;
        Ok(Self { text: text.to_owned(), issued_at })
    }
}
