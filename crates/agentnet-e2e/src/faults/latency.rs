//! Percentiles of waiting times.

use std::time::Duration;

/// Waiting times of one run.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Those of an iterator, sorted.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// The smallest time that at least `percent` of all don't exceed; zero when there are none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or_default()
    }

    /// The longest; zero when there are none.
    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

/// Milliseconds with three decimals, as reports print them.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let times = Latencies::of((1..=100).rev().map(Duration::from_millis));
        assert_eq!(times.percentile(50.0), Duration::from_millis(50));
        assert_eq!(times.percentile(99.0), Duration::from_millis(99));
        assert_eq!(times.percentile(100.0), times.longest());
        assert_eq!(Latencies::of([Duration::from_secs(1)]).percentile(1.0), Duration::from_secs(1));
        assert_eq!(Latencies::default().percentile(99.0), Duration::ZERO);
        assert_eq!(millis(Duration::from_micros(1234)), 1.234);
    }
}
