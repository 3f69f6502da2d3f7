//! How often who may ask.

use std::num::NonZeroU32;

use agentnet_service::config::{ConfigError, Env};

/// Requests a minute of one account, or of one address where no account is known, per kind of route. The whole minute's
/// may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// `GATEWAY_RATE_LOGIN`: logging in and signing up, per address. 10.
    pub login: NonZeroU32,
    /// `GATEWAY_RATE_VERIFY`: verifying, refreshing and ending tokens. 50.
    pub verify: NonZeroU32,
    /// `GATEWAY_RATE_CREATE`: making and deleting sessions and agents. 5.
    pub create: NonZeroU32,
    /// `GATEWAY_RATE_QUERY`: asking for sessions and providers. 10.
    pub query: NonZeroU32,
    /// `GATEWAY_RATE_AGENT`: agent operations. 20.
    pub agent: NonZeroU32,
    /// `GATEWAY_RATE_MESSAGE`: messages, over HTTP and over one account's WebSockets. 60.
    pub message: NonZeroU32,
    /// `GATEWAY_RATE_WORK`: what agents do over the coordinator: registering, heartbeats, fetching mail, working at tasks. 1,200.
    pub work: NonZeroU32,
    /// `GATEWAY_RATE_READ`: reading the network and opening streams. 600.
    pub read: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        let of = |rate: u32| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        Self {
            login: of(10),
            verify: of(50),
            create: of(5),
            query: of(10),
            agent: of(20),
            message: of(60),
            work: of(1_200),
            read: of(600),
        }
    }
}

impl Rates {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let rate = |name: &str, default: NonZeroU32| -> Result<NonZeroU32, ConfigError> {
            let value = env.integer(name, u64::from(default.get()), 1..=1_000_000)?;
            Ok(u32::try_from(value).ok().and_then(NonZeroU32::new).unwrap_or(default))
        };
        Ok(Self {
            login: rate("GATEWAY_RATE_LOGIN", default.login)?,
            verify: rate("GATEWAY_RATE_VERIFY", default.verify)?,
            create: rate("GATEWAY_RATE_CREATE", default.create)?,
            query: rate("GATEWAY_RATE_QUERY", default.query)?,
            agent: rate("GATEWAY_RATE_AGENT", default.agent)?,
            message: rate("GATEWAY_RATE_MESSAGE", default.message)?,
            work: rate("GATEWAY_RATE_WORK", default.work)?,
            read: rate("GATEWAY_RATE_READ", default.read)?,
        })
    }
}
