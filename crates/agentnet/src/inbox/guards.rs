//! The guards of the inbox: rate limit, dedupe, circuit breaker. All in memory, all bounded.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{
    Clock, Envelope, ErrorCode, Timestamp,
    envelope::{CLOCK_TOLERANCE, MAX_TTL_MS},
};
use governor::{
    Quota, RateLimiter, clock::MonotonicClock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
};
use tokio::time::Instant;

use super::Source;
use crate::{deadline::after, ttl_map::TtlMap};

/// Senders whose buckets are kept; beyond that, full buckets are forgotten.
const MAX_SENDERS: usize = 10_000;
/// Parts of original SDKs' streams per second and burst, per sending account.
const PARTS_RATE: (f64, u32) = (200.0, 400);
/// How many checks pass between two looks at the number of senders.
const SENDERS_CHECK: u32 = 1024;

/// The settings of the guards.
#[derive(Debug, Clone)]
pub(crate) struct GuardSettings {
    /// Messages per second and burst, per sending account; `None` for no limit.
    pub(crate) rate: Option<(f64, u32)>,
    pub(crate) dedupe_ttl: Duration,
    pub(crate) dedupe_max: usize,
    pub(crate) breaker_failures: u32,
    pub(crate) breaker_reset: Duration,
}

/// What became of a message that was here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waits for its handler, or the handler is at work.
    Accepted,
    /// Its handler finished.
    Processed,
}

/// Something that was handled before this process began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handled {
    /// A message.
    Message(String),
    /// What an idempotency key stood for, by its scope.
    Key(String),
}

/// What the dedupe says about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    No,
    Message(Outcome),
    IdempotencyKey,
}

type Limiter =
    RateLimiter<String, HashMapStateStore<String>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

fn limiter((per_second, burst): (f64, u32)) -> Option<Limiter> {
    let period = Duration::try_from_secs_f64(1.0 / per_second).ok().filter(|p| !p.is_zero())?;
    let quota = Quota::with_period(period)?.allow_burst(NonZeroU32::new(burst.max(1))?);
    Some(RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock))
}

#[derive(Debug)]
struct Dedupe {
    messages: TtlMap<Outcome>,
    keys: TtlMap<()>,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Guards {
    limiter: Option<Limiter>,
    /// For the parts of original SDKs' streams, each of which is a message.
    parts: Option<Limiter>,
    limiter_checks: AtomicU32,
    dedupe: Mutex<Dedupe>,
    breaker: Mutex<Breaker>,
    breaker_failures: u32,
    breaker_reset: Duration,
}

impl Guards {
    pub(crate) fn new(settings: &GuardSettings) -> Self {
        Self {
            limiter: settings.rate.and_then(limiter),
            parts: settings.rate.and(limiter(PARTS_RATE)),
            limiter_checks: AtomicU32::new(0),
            dedupe: Mutex::new(Dedupe {
                messages: TtlMap::new(settings.dedupe_ttl, settings.dedupe_max),
                keys: TtlMap::new(settings.dedupe_ttl, settings.dedupe_max),
            }),
            breaker: Mutex::default(),
            breaker_failures: settings.breaker_failures.max(1),
            breaker_reset: settings.breaker_reset,
        }
    }

    /// Remembers what was handled so long ago, oldest first.
    pub(crate) fn remember(&self, handled: Vec<(Handled, Duration)>, now: Instant) {
        let mut dedupe = self.dedupe();
        for (what, age) in handled {
            let at = now.checked_sub(age).unwrap_or(now);
            match what {
                Handled::Message(id) => dedupe.messages.insert(&id, Outcome::Processed, at),
                Handled::Key(scope) => dedupe.keys.insert(&scope, (), at),
            }
        }
    }

    /// Takes one message from the sender's bucket; whether there was one. Keyed by account, so that a sender doesn't
    /// get more by opening sessions.
    pub(crate) fn within_rate(&self, envelope: &Envelope) -> bool {
        self.within(self.limiter.as_ref(), envelope)
    }

    /// The same for a part of a stream: they come faster than anybody talks, and cost their reader less.
    pub(crate) fn within_rate_of_parts(&self, envelope: &Envelope) -> bool {
        self.within(self.parts.as_ref(), envelope)
    }

    fn within(&self, limiter: Option<&Limiter>, envelope: &Envelope) -> bool {
        let Some(limiter) = limiter else { return true };
        if self.limiter_checks.fetch_add(1, Ordering::Relaxed) % SENDERS_CHECK == SENDERS_CHECK - 1
            && limiter.len() > MAX_SENDERS
        {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        let unknown;
        let key = match (&envelope.from_account_id, &envelope.from_session_tag) {
            (Some(account), _) => account,
            (None, Some(session)) => session,
            (None, None) if !envelope.from_agent.is_empty() => &envelope.from_agent,
            (None, None) => {
                unknown = "unknown".to_owned();
                &unknown
            }
        };
        limiter.check_key(key).is_ok()
    }

    /// What is remembered about the message.
    pub(crate) fn seen(&self, envelope: &Envelope, me: &str, now: Instant) -> Seen {
        let mut dedupe = self.dedupe();
        // The original takes messages without an id, and can't dedupe them.
        if !envelope.message_id.is_empty()
            && let Some(outcome) = dedupe.messages.get(&message_key(envelope), now)
        {
            return Seen::Message(*outcome);
        }
        match scope(envelope, me) {
            Some(scope) if dedupe.keys.get(&scope, now).is_some() => Seen::IdempotencyKey,
            _ => Seen::No,
        }
    }

    /// Remembers an admitted message.
    pub(crate) fn admitted(&self, envelope: &Envelope, me: &str, now: Instant) {
        let mut dedupe = self.dedupe();
        if !envelope.message_id.is_empty() {
            dedupe.messages.insert(&message_key(envelope), Outcome::Accepted, now);
        }
        if let Some(scope) = scope(envelope, me) {
            dedupe.keys.insert(&scope, (), now);
        }
    }

    /// Its handler finished: a repeat is told so.
    pub(crate) fn processed(&self, envelope: &Envelope, now: Instant) {
        if let Some(outcome) = self.dedupe().messages.get(&message_key(envelope), now) {
            *outcome = Outcome::Processed;
        }
    }

    /// It was not handled: it may be sent again under the same id and key.
    pub(crate) fn forget(&self, envelope: &Envelope, me: &str) {
        let mut dedupe = self.dedupe();
        dedupe.messages.remove(&message_key(envelope));
        if let Some(scope) = scope(envelope, me) {
            dedupe.keys.remove(&scope);
        }
    }

    /// Message ids remembered, and forgotten before their time.
    pub(crate) fn dedupe_counts(&self) -> (usize, u64) {
        let dedupe = self.dedupe();
        (dedupe.messages.len(), dedupe.messages.evicted())
    }

    pub(crate) fn circuit_open(&self, now: Instant) -> bool {
        let mut breaker = self.breaker();
        match breaker.open_until {
            Some(until) if now < until => true,
            Some(_) => {
                breaker.open_until = None;
                false
            }
            None => false,
        }
    }

    /// A handler succeeded or failed. Enough failures in a row open the circuit; there is no half-open state.
    pub(crate) fn handled(&self, succeeded: bool, now: Instant) {
        let mut breaker = self.breaker();
        if succeeded {
            breaker.failures = 0;
            return;
        }
        breaker.failures += 1;
        if breaker.failures >= self.breaker_failures {
            breaker.failures = 0;
            breaker.open_until = Some(after(now, self.breaker_reset));
            let seconds = self.breaker_reset.as_secs_f64();
            tracing::warn!(seconds, "handlers fail in a row: refusing messages for a while");
        }
    }

    fn dedupe(&self) -> MutexGuard<'_, Dedupe> {
        self.dedupe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sender and id: nobody can use up an id that another one is about to use.
pub(super) fn message_key(envelope: &Envelope) -> String {
    format!("{} {}", envelope.from_account_id.as_deref().unwrap_or_default(), envelope.message_id)
}

/// Sender, recipient and key, when the message has one.
pub(super) fn scope(envelope: &Envelope, me: &str) -> Option<String> {
    let key = envelope.idempotency_key.as_deref()?;
    let from = envelope.from_account_id.as_deref().or(envelope.from_session_tag.as_deref());
    Some(format!("{}|{me}|{key}", from.unwrap_or(&envelope.from_agent)))
}

/// Whether the message still has time, by its own account of when it was sent. What the network delivers again was
/// judged by the network's clock, which counts; only a missing time to live is refused then.
pub(crate) fn check_time(envelope: &Envelope, source: Source, clock: &dyn Clock) -> Result<(), ErrorCode> {
    if envelope.ttl_ms.is_some_and(|ms| ms > MAX_TTL_MS) {
        return Err(ErrorCode::TtlTooLong);
    }
    if source == Source::Redelivery {
        let has_ttl = envelope.ttl_ms.is_some() || envelope.effective_expiry().is_some();
        return if has_ttl { Ok(()) } else { Err(ErrorCode::MissingTtl) };
    }
    let expiry = envelope.effective_expiry().ok_or(ErrorCode::MissingTtl)?;
    let now: Timestamp = clock.now();
    if expiry > now.saturating_add(CLOCK_TOLERANCE).saturating_add_millis(MAX_TTL_MS) {
        return Err(ErrorCode::TtlTooLong);
    }
    if now >= expiry {
        return Err(ErrorCode::Expired);
    }
    match envelope.sent_at() {
        Some(sent) if sent > now.saturating_add(CLOCK_TOLERANCE) => Err(ErrorCode::SentAtInFuture),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "guards_tests.rs"]
mod tests;
