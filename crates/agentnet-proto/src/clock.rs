//! Where time comes from. Everything that judges a timestamp takes a [`Clock`], so tests can set it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::timestamp::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync + Debug {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// A clock shared by the parts of a process.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// This clock, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the ambient clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_offset(OffsetDateTime::now_utc())
    }
}

/// The machine's clock, wrong by a fixed amount: for fault tests.
#[derive(Debug, Clone, Copy)]
pub struct OffsetClock {
    offset_ms: i64,
}

impl OffsetClock {
    /// A clock that is `offset_ms` milliseconds ahead, or behind when negative.
    #[must_use]
    pub const fn new(offset_ms: i64) -> Self {
        Self { offset_ms }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add_millis(self.offset_ms)
    }
}

/// A clock that moves only when told; clones share the time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Jumps to `to`, forwards or backwards.
    pub fn set(&self, to: Timestamp) {
        self.update(|_| to);
    }

    /// Moves forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.update(|now| now.saturating_add(by));
    }

    /// The same clock as a [`SharedClock`].
    #[must_use]
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }

    fn update(&self, change: impl FnOnce(Timestamp) -> Timestamp) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = change(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_for_all_its_clones() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let shared = clock.shared();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(shared.now().unix_millis(), 1500);
        clock.set(Timestamp::MIN);
        assert_eq!(shared.now(), Timestamp::MIN);
    }

    #[test]
    fn offset_clock_is_wrong_by_its_offset() {
        for offset in [-3_600_000, 3_600_000] {
            let before = SystemClock.now();
            let read = OffsetClock::new(offset).now();
            let after = SystemClock.now();
            assert!(read >= before.saturating_add_millis(offset), "{read} {before}");
            assert!(read <= after.saturating_add_millis(offset), "{read} {after}");
        }
        assert_eq!(OffsetClock::new(i64::MAX).now(), Timestamp::MAX);
        assert_eq!(OffsetClock::new(i64::MIN).now(), Timestamp::MIN);
    }
}
