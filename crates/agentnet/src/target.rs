//! Whom a message is for, as people write it.

use std::{fmt, str::FromStr};

use agentnet_proto::{
    AccountId, Capability,
    envelope::{CAPABILITY_PREFIX, THREAD_PREFIX},
    username::normalize_username,
};

use crate::error::{Error, ErrorKind};

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One account: `account:<id>` (prefix in any case) or `acct_...`.
    Account(AccountId),
    /// The account of that username: `username:<name>`, `@name`, or just the name. Held in its normal spelling.
    Username(String),
    /// Any one agent with the capability: `capability:<name>`.
    Capability(Capability),
    /// Every member of a thread: `thread:<id>`.
    Thread(String),
}

/// Longest thread id, in bytes; the limit of every naming field of an envelope.
const MAX_THREAD_ID: usize = agentnet_proto::envelope::MAX_FIELD_LEN;

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] or [`ErrorKind::InvalidCapability`], naming what was given.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Some(id) = strip_prefix_any_case(text, "account:") {
            return Self::account(id.trim());
        }
        if text.starts_with("acct_") {
            return Self::account(text);
        }
        if let Some(name) = strip_prefix_any_case(text, CAPABILITY_PREFIX) {
            return Self::capability(name.trim());
        }
        if let Some(id) = strip_prefix_any_case(text, THREAD_PREFIX) {
            return Self::thread(id.trim());
        }
        Self::username(strip_prefix_any_case(text, "username:").unwrap_or(text))
    }

    /// An account by its id.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] when the id can't be part of a subject.
    pub fn account(id: &str) -> Result<Self, Error> {
        AccountId::new(id).map(Self::Account).map_err(|code| {
            Error::of(
                code,
                format!(
                    "{id:?} is no account id; use letters, digits, `_` and `-`, as the registry gave it out"
                ),
            )
        })
    }

    /// An account by its username, in any spelling.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] when nothing usable is left of the name.
    pub fn username(name: &str) -> Result<Self, Error> {
        let normal = normalize_username(name.trim().trim_start_matches('@'));
        if normal.is_empty() {
            let detail = format!(
                "{name:?} names nobody; use an account id, a username, `capability:<name>` or `thread:<id>`"
            );
            return Err(Error::new(ErrorKind::InvalidTarget, detail));
        }
        Ok(Self::Username(normal))
    }

    /// Any holder of a capability.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCapability`] when the name isn't one subject token.
    pub fn capability(name: &str) -> Result<Self, Error> {
        Capability::new(name).map(Self::Capability).map_err(|code| {
            Error::of(
                code,
                format!("{name:?} can't be addressed; a capability has no `.`, `*`, `>`, spaces or control characters"),
            )
        })
    }

    /// Every member of a thread.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] when the id is empty or too long.
    pub fn thread(id: &str) -> Result<Self, Error> {
        if id.is_empty() || id.len() > MAX_THREAD_ID {
            let detail = format!("a thread id has 1 to {MAX_THREAD_ID} bytes; this one has {}", id.len());
            return Err(Error::new(ErrorKind::InvalidTarget, detail));
        }
        Ok(Self::Thread(id.to_owned()))
    }
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account:{id}"),
            Self::Username(name) => write!(f, "@{name}"),
            Self::Capability(name) => write!(f, "{CAPABILITY_PREFIX}{name}"),
            Self::Thread(id) => write!(f, "{THREAD_PREFIX}{id}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// What the sending calls take as a target: a [`Target`], an account id, or text that [`Target::parse`] reads.
///
/// Text is read when the call is awaited, so that a bad target is that call's error.
pub trait IntoTarget {
    /// The target.
    ///
    /// # Errors
    /// As [`Target::parse`].
    fn into_target(self) -> Result<Target, Error>;
}

impl IntoTarget for Target {
    fn into_target(self) -> Result<Target, Error> {
        Ok(self)
    }
}

impl IntoTarget for &Target {
    fn into_target(self) -> Result<Target, Error> {
        Ok(self.clone())
    }
}

impl IntoTarget for AccountId {
    fn into_target(self) -> Result<Target, Error> {
        Ok(Target::Account(self))
    }
}

impl IntoTarget for &AccountId {
    fn into_target(self) -> Result<Target, Error> {
        Ok(Target::Account(self.clone()))
    }
}

impl IntoTarget for &str {
    fn into_target(self) -> Result<Target, Error> {
        Target::parse(self)
    }
}

impl IntoTarget for &String {
    fn into_target(self) -> Result<Target, Error> {
        Target::parse(self)
    }
}

impl IntoTarget for String {
    fn into_target(self) -> Result<Target, Error> {
        Target::parse(&self)
    }
}

impl IntoTarget for Result<Target, Error> {
    fn into_target(self) -> Result<Target, Error> {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_of_the_original() {
        let account = Target::account("acct_01").unwrap();
        for text in ["account:acct_01", "ACCOUNT:acct_01", "acct_01", " acct_01 ", "Account: acct_01"] {
            assert_eq!(Target::parse(text).unwrap(), account, "{text}");
        }
        for text in ["username:weather_bot", "@weather_bot", "weather_bot", "@Weather_Bot", " Weather Bot "] {
            assert_eq!(Target::parse(text).unwrap(), Target::Username("weather_bot".into()), "{text}");
        }
        assert_eq!(Target::parse("account:42").unwrap(), Target::account("42").unwrap());
        assert_eq!(Target::parse("capability:chat").unwrap(), Target::capability("chat").unwrap());
        assert_eq!(Target::parse("thread:ops_1").unwrap(), Target::Thread("ops_1".into()));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in ["", " ", "@", "--", "account:", "account:a.b", "acct_*", "acct_a b", "thread:"] {
            let error = Target::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTarget, "{text}: {error}");
        }
        for name in ["", "a.b", "*", ">", "a b", "a\0b"] {
            let error = Target::parse(&format!("capability:{name}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidCapability, "{name}");
        }
    }

    proptest! {
        #[test]
        fn parse_of_print_is_the_target(text in ".{0,60}") {
            if let Ok(target) = Target::parse(&text) {
                prop_assert_eq!(Target::parse(&target.to_string()).unwrap(), target);
            }
        }
    }
}
