//! Waiting for a condition instead of sleeping.

use std::{
    panic::Location,
    time::{Duration, Instant},
};

/// What a probe of [`eventually`] answers: not yet, or a value.
pub trait Outcome {
    /// What the wait ends with.
    type Value;
    /// `None` for not yet.
    fn outcome(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn outcome(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn outcome(self) -> Self {
        self
    }
}

/// Calls `probe` until it answers `true` or `Some`, and returns the value. A probe that itself hangs counts
/// against the deadline too.
///
/// # Panics
/// At the deadline, naming the caller.
#[track_caller]
pub fn eventually<F, Fut>(
    deadline: Duration,
    mut probe: F,
) -> impl Future<Output = <Fut::Output as Outcome>::Value>
where
    F: FnMut() -> Fut,
    Fut: Future,
    Fut::Output: Outcome,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut probes = 0_u32;
        loop {
            probes += 1;
            let left = deadline.saturating_sub(start.elapsed());
            if let Ok(answer) = tokio::time::timeout(left.max(Duration::from_millis(1)), probe()).await
                && let Some(value) = answer.outcome()
            {
                return value;
            }
            assert!(start.elapsed() < deadline, "{caller}: not within {deadline:?} ({probes} probes)");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_value_once_it_is_there() {
        let mut calls = 0;
        let value = eventually(Duration::from_secs(5), || {
            calls += 1;
            std::future::ready((calls == 3).then_some("there"))
        });
        assert_eq!(value.await, "there");
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn panics_at_the_deadline_even_if_the_probe_hangs() {
        eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
