//! Points in time that callers choose.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use futures_util::poll;
use tokio::time::{Instant, error::Elapsed, timeout_at};

/// As good as never, and still a time that clocks and timers can hold.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `from + span`, where the span comes from options, the environment or a file: [`FAR`] at most, as `Duration::MAX` is
/// how people write "for ever" and would overflow.
pub(crate) fn after(from: Instant, span: Duration) -> Instant {
    from + span.min(FAR)
}

/// As [`timeout_at`], and makes no timer for a future that is ready, as room in a queue mostly is.
pub(crate) async fn within<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll!(future.as_mut()) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout_at(deadline, future).await,
    }
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
