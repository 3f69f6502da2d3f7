//! The node's figures.

use std::sync::PoisonError;

use tokio::time::Instant;

use super::Inner;
use crate::metrics::{MetricsSnapshot, UsernameCache};

pub(super) fn take(inner: &Inner) -> MetricsSnapshot {
    let m = &inner.metrics;
    let (pending_count, inflight_count) = inner.jobs.counts();
    let (outbox_count, outbox_bytes) = inner.outbox.load();
    let (dedupe_count, dedupe_evicted_count) = inner.guards.dedupe_counts();
    let session = inner.session.read().unwrap_or_else(PoisonError::into_inner).clone();
    MetricsSnapshot {
        account_id: inner.account.to_string(),
        username: session.username,
        agent_id: inner.config.agent_id.clone(),
        session_tag: session.tag.to_string(),
        inflight_count,
        pending_count,
        processed_count: m.processed.get(),
        dropped_count: m.dropped.get(),
        timeout_count: m.timeouts.get(),
        error_count: m.errors.get(),
        rate_limited_count: m.rate_limited.get(),
        expired_count: m.expired.get(),
        payload_rejected_count: m.payload_rejected.get(),
        duplicate_count: m.duplicates.get(),
        busy_count: m.busy.get(),
        retry_count: m.retries.get(),
        receipt_timeout_count: m.receipt_timeouts.get(),
        avg_handle_ms: m.avg_handle_ms(),
        circuit_open: inner.guards.circuit_open(Instant::now()),
        latency_ms: m.latencies(),
        username_cache: UsernameCache {
            ttl_seconds: inner.config.resolve_cache_ttl.as_secs_f64(),
            size: inner.accounts.lock().unwrap_or_else(PoisonError::into_inner).len(),
            hits: m.username_hits.get(),
            misses: m.username_misses.get(),
        },
        outbox_count,
        outbox_bytes,
        receipts_unconfirmed: inner.receipts.len(),
        receipts_resent_count: m.receipts_resent.get(),
        receipts_forgotten_count: inner.receipts.forgotten(),
        requests_waiting: inner.requests.len(),
        replies_refused_count: m.replies_refused.get(),
        frames_refused_count: m.frames_refused.get(),
        unproved: m.unproved_by_code(),
        dedupe_count,
        dedupe_evicted_count,
        registration_count: m.registrations.get(),
        reconnect_count: inner.connection.state().borrow().reconnects,
        slow_consumer_count: inner.connection.slow_consumer_count(),
    }
}
