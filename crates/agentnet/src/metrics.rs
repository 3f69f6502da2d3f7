//! What a node counts.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{Envelope, Receipt, rpc::LatencySummary};
use serde::Serialize;

use crate::auth::Unproved;

/// A counter that only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The last latencies, in a ring.
#[derive(Debug)]
pub(crate) struct Latency {
    window: usize,
    ring: Mutex<(Vec<f32>, usize, u64)>,
}

impl Latency {
    fn new(window: usize) -> Self {
        Self { window: window.max(1), ring: Mutex::default() }
    }

    pub(crate) fn record(&self, took: Duration) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (samples, next, count) = &mut *ring;
        let ms = took.as_secs_f32() * 1000.0;
        if samples.len() < self.window {
            samples.push(ms);
        } else if let Some(slot) = samples.get_mut(*next) {
            *slot = ms;
        }
        *next = (*next + 1) % self.window;
        *count += 1;
    }

    fn summary(&self) -> LatencySummary {
        let mut samples = self.ring.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        samples.sort_by(f32::total_cmp);
        #[expect(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a rank within the window"
        )]
        let at = |q: f64| {
            let rank = ((samples.len() as f64 * q).ceil() as usize).max(1) - 1;
            samples.get(rank).map_or(0.0, |ms| (f64::from(*ms) * 1000.0).round() / 1000.0)
        };
        LatencySummary { count: samples.len() as u64, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// All counters of a node.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) processed: Counter,
    pub(crate) dropped: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) errors: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) expired: Counter,
    pub(crate) payload_rejected: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) busy: Counter,
    pub(crate) retries: Counter,
    pub(crate) receipt_timeouts: Counter,
    pub(crate) receipts_resent: Counter,
    pub(crate) replies_refused: Counter,
    pub(crate) frames_refused: Counter,
    unproved: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) registrations: Counter,
    pub(crate) username_hits: Counter,
    pub(crate) username_misses: Counter,
    /// Sum of handler times in microseconds, and how many.
    handle_us: AtomicU64,
    handled: AtomicU64,
    pub(crate) latency_send: Latency,
    pub(crate) latency_request: Latency,
    pub(crate) latency_resolve: Latency,
}

impl Metrics {
    /// A message or a reply that isn't proved to be its sender's.
    pub(crate) fn unproved(&self, why: &Unproved, envelope: &Envelope) {
        let from = envelope.from_account_id.as_deref().unwrap_or_default();
        self.count_unproved(why, "message", &envelope.message_id, from);
    }

    /// A receipt that isn't.
    pub(crate) fn unproved_receipt(&self, why: &Unproved, receipt: &Receipt<Cow<'_, str>>) {
        let from = receipt.from_account_id.as_deref().unwrap_or_default();
        self.count_unproved(why, "receipt", &receipt.message_id, from);
    }

    /// Something that an observer doesn't get to see.
    pub(crate) fn unproved_shown(&self, why: &Unproved, what: &str, message_id: &str) {
        self.count_unproved(why, what, message_id, "");
    }

    fn count_unproved(&self, why: &Unproved, what: &str, message_id: &str, from: &str) {
        let code = why.code().as_str();
        *self.unproved.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
        match why {
            Unproved::Refused(_) => tracing::debug!(what, message_id, from, code, "not taken"),
            Unproved::Unknown(error) => {
                tracing::debug!(what, message_id, from, %error, "not taken: its sender's key can't be found out");
            }
        }
    }

    /// How much wasn't proved, by code.
    pub(crate) fn unproved_by_code(&self) -> BTreeMap<String, u64> {
        let counts = self.unproved.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
    }

    pub(crate) fn new(window: usize) -> Self {
        let (c, l) = (Counter::default, || Latency::new(window));
        Self {
            processed: c(),
            dropped: c(),
            timeouts: c(),
            errors: c(),
            rate_limited: c(),
            expired: c(),
            payload_rejected: c(),
            undecodable: c(),
            duplicates: c(),
            busy: c(),
            retries: c(),
            receipt_timeouts: c(),
            receipts_resent: c(),
            replies_refused: c(),
            frames_refused: c(),
            unproved: Mutex::default(),
            registrations: c(),
            username_hits: c(),
            username_misses: c(),
            handle_us: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            latency_send: l(),
            latency_request: l(),
            latency_resolve: l(),
        }
    }

    pub(crate) fn handled(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.handle_us.fetch_add(us, Ordering::Relaxed);
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn avg_handle_ms(&self) -> f64 {
        let handled = self.handled.load(Ordering::Relaxed);
        if handled == 0 {
            return 0.0;
        }
        self.handle_us.load(Ordering::Relaxed) as f64 / handled as f64 / 1000.0
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies {
            send_account: self.latency_send.summary(),
            request_account: self.latency_request.summary(),
            resolve_username: self.latency_resolve.summary(),
        }
    }
}

/// Percentiles of the last calls (1024 unless configured).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latencies {
    /// From a send's first publish to its return.
    pub send_account: LatencySummary,
    /// From a request's publish to its reply.
    pub request_account: LatencySummary,
    /// Username look-ups that asked the registry.
    pub resolve_username: LatencySummary,
}

/// The cache of usernames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UsernameCache {
    /// How long an answer is remembered.
    pub ttl_seconds: f64,
    /// Names remembered now.
    pub size: usize,
    /// Look-ups answered from the cache.
    pub hits: u64,
    /// Look-ups that asked the registry.
    pub misses: u64,
}

/// A node's figures since its start. The first keys are the original's; the others are new.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsSnapshot {
    /// The node's account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// Its role label.
    pub agent_id: String,
    /// Its session.
    pub session_tag: String,
    /// Handlers at work.
    pub inflight_count: usize,
    /// Messages accepted and waiting for a handler.
    pub pending_count: usize,
    /// Handlers that succeeded.
    pub processed_count: u64,
    /// Messages dropped before a receipt could be sent, undecodable ones among them.
    pub dropped_count: u64,
    /// Handlers that took too long.
    pub timeout_count: u64,
    /// Handlers that failed or panicked.
    pub error_count: u64,
    /// Messages refused by the rate limit.
    pub rate_limited_count: u64,
    /// Messages refused because their time was over, or they had none.
    pub expired_count: u64,
    /// Messages refused for their size.
    pub payload_rejected_count: u64,
    /// Messages that had been here before.
    pub duplicate_count: u64,
    /// Messages refused because the backlog was full.
    pub busy_count: u64,
    /// Copies sent again because no confirmation had come.
    pub retry_count: u64,
    /// Sends whose recipient stayed silent.
    pub receipt_timeout_count: u64,
    /// Mean time of a handler.
    pub avg_handle_ms: f64,
    /// Whether the circuit breaker refuses messages.
    pub circuit_open: bool,
    /// Percentiles in milliseconds.
    pub latency_ms: Latencies,
    /// The cache of usernames.
    pub username_cache: UsernameCache,
    /// Messages sent and not confirmed yet.
    pub outbox_count: usize,
    /// Their bytes.
    pub outbox_bytes: usize,
    /// Receipts sent and not confirmed yet.
    pub receipts_unconfirmed: usize,
    /// Receipts sent again because no confirmation had come.
    pub receipts_resent_count: u64,
    /// Receipts given up without a confirmation: too many, or too old.
    pub receipts_forgotten_count: u64,
    /// Requests waiting for a reply.
    pub requests_waiting: usize,
    /// Replies refused: from another account, for no request of ours, or unreadable.
    pub replies_refused_count: u64,
    /// Frames of streams that weren't what they said, or whose sender isn't proved.
    pub frames_refused_count: u64,
    /// Messages, receipts and replies that didn't count because nothing proved that they are their sender's, and for
    /// this agent, by code. Nobody was told.
    pub unproved: BTreeMap<String, u64>,
    /// Message ids remembered.
    pub dedupe_count: usize,
    /// Message ids forgotten before their time because there were too many.
    pub dedupe_evicted_count: u64,
    /// Registrations, the first included.
    pub registration_count: u64,
    /// Times the connection came back.
    pub reconnect_count: u64,
    /// Messages that NATS dropped because a subscription was full.
    pub slow_consumer_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_window() {
        let latency = Latency::new(100);
        assert_eq!(latency.summary(), LatencySummary::default());
        for ms in 1..=300 {
            latency.record(Duration::from_millis(ms));
        }
        let summary = latency.summary();
        assert_eq!((summary.count, summary.p50, summary.p95, summary.p99), (100, 250.0, 295.0, 299.0));
    }
}
