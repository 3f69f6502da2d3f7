//! Latencies of named operations in a window of fixed size, readable by the process itself.
//!
//! The `metrics` facade beside it feeds Prometheus; this feeds a service's own `metrics` RPC. Recording takes
//! no lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Samples kept per name unless told otherwise (`REGISTRY_METRICS_WINDOW_SIZE` of the original).
pub const DEFAULT_WINDOW: usize = 1024;

/// Names beyond this share the timer `other`, so that a name made from input can't grow the map for ever.
const MAX_NAMES: usize = 512;

/// All timers of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats {
    window: usize,
    timers: Arc<RwLock<BTreeMap<String, Arc<Timer>>>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self::new(DEFAULT_WINDOW)
    }
}

/// Calls, errors and recent latencies of one operation.
#[derive(Debug)]
pub struct Timer {
    calls: AtomicU64,
    errors: AtomicU64,
    /// Nanoseconds; the slot of call n is n modulo the length.
    window: Box<[AtomicU64]>,
}

/// What a [`Timer`] has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimerSnapshot {
    /// Calls since the start.
    pub calls: u64,
    /// Calls that ended in an error, since the start.
    pub errors: u64,
    /// Samples in the window, at most its size.
    pub count: usize,
    /// Median of the window in milliseconds, 0 without samples.
    pub p50_ms: f64,
    /// 95th percentile in milliseconds.
    pub p95_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

impl Stats {
    /// Timers with a window of `window` samples, at least 1.
    pub fn new(window: usize) -> Self {
        Self { window: window.max(1), timers: Arc::default() }
    }

    /// Samples kept per name.
    pub fn window_size(&self) -> usize {
        self.window
    }

    /// The timer of that name, made at the first call. Keep it: looking it up takes a lock.
    pub fn timer(&self, name: &str) -> Arc<Timer> {
        let mut timers = self.timers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = timers.get(name) {
            return timer.clone();
        }
        let name = if timers.len() < MAX_NAMES { name } else { "other" };
        timers.entry(name.to_owned()).or_insert_with(|| Arc::new(Timer::new(self.window))).clone()
    }

    /// Every timer by name.
    pub fn snapshot(&self) -> BTreeMap<String, TimerSnapshot> {
        let timers = self.timers.read().unwrap_or_else(PoisonError::into_inner);
        timers.iter().map(|(name, timer)| (name.clone(), timer.snapshot())).collect()
    }
}

impl Timer {
    fn new(window: usize) -> Self {
        let window = (0..window).map(|_| AtomicU64::new(0)).collect();
        Self { calls: AtomicU64::new(0), errors: AtomicU64::new(0), window }
    }

    /// Records one call.
    pub fn record(&self, elapsed: Duration) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let slot = call % self.window.len() as u64;
        if let Some(slot) = self.window.get(slot as usize) {
            slot.store(nanos, Ordering::Relaxed);
        }
    }

    /// Counts one call, already recorded, as failed.
    pub fn record_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts and percentiles (nearest rank). A call being recorded at this moment may be half in it.
    pub fn snapshot(&self) -> TimerSnapshot {
        let calls = self.calls.load(Ordering::Relaxed);
        let count = self.window.len().min(usize::try_from(calls).unwrap_or(usize::MAX));
        let mut samples: Vec<u64> =
            self.window.iter().take(count).map(|slot| slot.load(Ordering::Relaxed)).collect();
        samples.sort_unstable();
        let rank = |percent: usize| {
            let index = (count * percent).div_ceil(100).saturating_sub(1);
            samples.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        TimerSnapshot {
            calls,
            errors: self.errors.load(Ordering::Relaxed),
            count,
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_window() {
        let stats = Stats::new(100);
        let timer = stats.timer("handler.x");
        for _ in 0..500 {
            timer.record(Duration::from_secs(9));
        }
        for ms in 1..=100 {
            timer.record(Duration::from_millis(ms));
        }
        timer.record_error();
        let seen = &stats.snapshot()["handler.x"];
        assert_eq!((seen.calls, seen.errors, seen.count), (600, 1, 100));
        assert_eq!((seen.p50_ms, seen.p95_ms, seen.p99_ms), (50.0, 95.0, 99.0));
    }

    #[test]
    fn empty_and_single() {
        let stats = Stats::default();
        assert_eq!(stats.timer("a").snapshot(), TimerSnapshot::default());
        stats.timer("a").record(Duration::from_millis(3));
        let seen = stats.timer("a").snapshot();
        assert_eq!((seen.count, seen.p50_ms, seen.p99_ms), (1, 3.0, 3.0));
    }

    #[test]
    fn names_are_bounded() {
        let stats = Stats::new(1);
        for n in 0..MAX_NAMES + 50 {
            stats.timer(&format!("n{n}"));
        }
        assert!(stats.snapshot().len() <= MAX_NAMES + 1);
        assert!(stats.snapshot().contains_key("other"));
    }
}
