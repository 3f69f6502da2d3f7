//! Slowing down logins that fail: by username, so that nobody guesses one password, and by address, so that nobody tries
//! one on everybody. Usernames that nobody has are counted like all others.

use std::net::IpAddr;
use std::time::Duration;

use agentnet_proto::envelope::body_hash;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::attempts::{self, Kind, Pace};

use crate::app::{App, Failed, chain};
use crate::validate;

const LONGEST: Duration = Duration::from_secs(300);
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Of one username.
const OF_NAME: Pace = Pace { free: 5, longest: LONGEST, forget_after: FORGET_AFTER };
/// From one address: behind it may be many people.
const OF_ADDRESS: Pace = Pace { free: 30, longest: LONGEST, forget_after: FORGET_AFTER };
/// Longest address that is told apart, in characters.
const MAX_ADDRESS: usize = 64;

/// An attempt that counts as failed until it succeeds.
#[derive(Debug)]
pub(crate) struct Attempt {
    name: Option<[u8; 32]>,
    address: Option<[u8; 32]>,
}

impl Attempt {
    /// Begins one, unless it comes too soon.
    ///
    /// # Errors
    /// [`ErrorCode::LoginThrottled`]; Postgres.
    pub(crate) async fn begin(app: &App, name: Option<&str>, address: Option<&str>) -> Result<Self, Failed> {
        let attempt = Self { name: name.map(subject), address: address.map(|text| subject(&network(text))) };
        let parts = [(Kind::Address, attempt.address, OF_ADDRESS), (Kind::Name, attempt.name, OF_NAME)];
        for (kind, subject, pace) in parts {
            let Some(subject) = subject else { continue };
            let wait = attempts::begin(app.store.pool(), kind, &subject, &pace, app.now()).await?;
            if let Some(wait) = wait {
                return Err(throttled(wait).into());
            }
        }
        Ok(attempt)
    }

    /// It succeeded. Should that not be noted, it counts as failed: no reason to undo what was done.
    pub(crate) async fn succeeded(&self, app: &App) {
        let (name, address) = (self.name.as_ref(), self.address.as_ref());
        if let Err(error) = attempts::succeeded(app.store.pool(), name, address, app.now()).await {
            app.failures.log("login_attempts.succeeded", &chain(&error));
        }
    }
}

fn throttled(wait: Duration) -> RpcError {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    RpcError::new(ErrorCode::LoginThrottled).retry_after(seconds)
}

fn subject(text: &str) -> [u8; 32] {
    body_hash(text.as_bytes())
}

/// Whoever has one address of an IPv6 network has all of them.
fn network(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => format!("{:x?}", v6.segments().get(..4).unwrap_or_default()),
        },
        Ok(IpAddr::V4(v4)) => v4.to_string(),
        Err(_) => address.to_owned(),
    }
}

/// Whether the text may be an address.
///
/// # Errors
/// [`ErrorCode::InvalidField`].
pub(crate) fn check_address(address: Option<&str>) -> Result<(), RpcError> {
    address.map_or(Ok(()), |address| validate::name("address", address, MAX_ADDRESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_network() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert!(check_address(Some(&"x".repeat(65))).is_err());
    }

    #[test]
    fn waits_are_said_in_whole_seconds() {
        assert_eq!(throttled(Duration::from_millis(1)).retry_after_s, Some(1));
        assert_eq!(throttled(Duration::from_millis(1001)).retry_after_s, Some(2));
    }
}
