//! Points in time that callers choose.

use std::time::Duration;

use tokio::time::Instant;

/// As good as never, and still a time that clocks and timers can hold.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `from + span`, where the span comes from options, the environment or a file: [`FAR`] at most, as `Duration::MAX` is
/// how people write "for ever" and would overflow.
pub(crate) fn after(from: Instant, span: Duration) -> Instant {
    from + span.min(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_far_away() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert_eq!(after(now, Duration::MAX), now + FAR);
        // Twice, as where a grace is added.
        assert_eq!(
            after(after(now, Duration::MAX), Duration::from_secs(1)),
            now + FAR + Duration::from_secs(1)
        );
    }
}
