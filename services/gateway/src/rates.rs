//! How often who may ask: token buckets per kind of route and per account, or address where no account is known.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentnet_proto::AccountId;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

use crate::{config::Rates, http::Problem};

/// Callers remembered per kind before those whose bucket is full again are forgotten.
const MANY: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);
/// How often full buckets are looked for where there are very many.
const THIN_OUT_EVERY: Duration = Duration::from_secs(1);

/// The kinds of routes, by how often they may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Logging in and signing up.
    Login,
    /// Verifying, refreshing and ending tokens.
    Verify,
    /// Making and ending sessions, agents, keys.
    Create,
    /// Asking for sessions and the like.
    Query,
    /// Asking for agents.
    Agents,
    /// Sending as an agent, asking one.
    Agent,
    /// Saying something.
    Message,
    /// What agents do over the coordinator.
    Work,
    /// Reading the network.
    Read,
}

impl Class {
    /// What an API key must be made for.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Self::Login | Self::Verify | Self::Query | Self::Agents | Self::Read => "read",
            Self::Create | Self::Agent | Self::Message | Self::Work => "send",
        }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Account(AccountId),
    Address(IpAddr),
}

impl Who {
    /// Callers from an address. Whoever has one address of an IPv6 network has all of it.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// Addresses that show tokens, keys and tickets that aren't good.
#[derive(Debug)]
pub(crate) struct Strangers {
    most: u32,
    /// How many in the minute that began then.
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Strangers {
    /// `most` failures of an address a minute.
    pub(crate) fn new(most: NonZeroU32) -> Self {
        Self { most: most.get(), failures: Mutex::default() }
    }

    /// Whether more of the address is looked at.
    ///
    /// # Errors
    /// 429 with the time until it is.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Problem> {
        match self.lock().get(&network(address)) {
            Some((count, since)) if *count >= self.most && since.elapsed() < MINUTE => {
                Err(Problem::too_many(MINUTE.saturating_sub(since.elapsed())))
            }
            _ => Ok(()),
        }
    }

    /// Something that it showed wasn't good.
    ///
    /// # Errors
    /// As [`check`](Self::check), once there were too many.
    pub(crate) fn failed(&self, address: IpAddr) -> Result<(), Problem> {
        self.check(address)?;
        let mut failures = self.lock();
        if failures.len() < MANY || failures.contains_key(&network(address)) {
            let (count, since) = failures.entry(network(address)).or_insert((0, Instant::now()));
            if since.elapsed() >= MINUTE {
                (*count, *since) = (0, Instant::now());
            }
            *count += 1;
        }
        Ok(())
    }

    /// Forgets minutes that are over.
    pub(crate) fn sweep(&self) {
        self.lock().retain(|_, (_, since)| since.elapsed() < MINUTE);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, (u32, Instant)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Limits {
    login: DefaultKeyedRateLimiter<Who>,
    verify: DefaultKeyedRateLimiter<Who>,
    create: DefaultKeyedRateLimiter<Who>,
    query: DefaultKeyedRateLimiter<Who>,
    agents: DefaultKeyedRateLimiter<Who>,
    agent: DefaultKeyedRateLimiter<Who>,
    message: DefaultKeyedRateLimiter<Who>,
    work: DefaultKeyedRateLimiter<Who>,
    read: DefaultKeyedRateLimiter<Who>,
    thinned_out: Mutex<Option<Instant>>,
}

impl Limits {
    pub(crate) fn new(rates: &Rates) -> Self {
        let of = |rate: NonZeroU32| RateLimiter::keyed(Quota::per_minute(rate));
        Self {
            login: of(rates.login),
            verify: of(rates.verify),
            create: of(rates.create),
            query: of(rates.query),
            agents: of(rates.agent),
            agent: of(rates.agent),
            message: of(rates.message),
            work: of(rates.work),
            read: of(rates.read),
            thinned_out: Mutex::default(),
        }
    }

    /// Takes one from the bucket.
    ///
    /// # Errors
    /// 429 with the time until there is one again.
    pub(crate) fn check(&self, class: Class, caller: &Who) -> Result<(), Problem> {
        let limiter = self.of(class);
        if limiter.len() > MANY {
            let mut last = self.thinned_out.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|at| at.elapsed() >= THIN_OUT_EVERY) {
                *last = Some(Instant::now());
                limiter.retain_recent();
            }
        }
        limiter.check_key(caller).map_err(|until| {
            let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
            Problem::too_many(wait.max(Duration::from_millis(1)))
        })
    }

    /// Forgets callers whose bucket is full again.
    pub(crate) fn sweep(&self) {
        for class in [
            Class::Login,
            Class::Verify,
            Class::Create,
            Class::Query,
            Class::Agents,
            Class::Agent,
            Class::Message,
            Class::Work,
            Class::Read,
        ] {
            self.of(class).retain_recent();
        }
    }

    fn of(&self, class: Class) -> &DefaultKeyedRateLimiter<Who> {
        match class {
            Class::Login => &self.login,
            Class::Verify => &self.verify,
            Class::Create => &self.create,
            Class::Query => &self.query,
            Class::Agents => &self.agents,
            Class::Agent => &self.agent,
            Class::Message => &self.message,
            Class::Work => &self.work,
            Class::Read => &self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_bucket_per_kind() {
        let limits = Limits::new(&Rates { message: NonZeroU32::MIN, ..Rates::default() });
        let (a, b) = (Who::Address([127, 0, 0, 1].into()), Who::Address([127, 0, 0, 2].into()));
        assert!(limits.check(Class::Message, &a).is_ok());
        let refused = limits.check(Class::Message, &a).unwrap_err();
        assert_eq!(refused.status.as_u16(), 429);
        assert!(limits.check(Class::Message, &b).is_ok());
        assert!(limits.check(Class::Read, &a).is_ok());
    }
}
