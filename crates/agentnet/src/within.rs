//! A deadline for what is mostly there at once.

use std::{future::Future, pin::pin, task::Poll};

use futures_util::poll;
use tokio::time::{Instant, error::Elapsed, timeout_at};

/// As [`timeout_at`], and makes no timer for a future that is ready: room in a queue, a handler that doesn't wait.
pub(crate) async fn within<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll!(future.as_mut()) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout_at(deadline, future).await,
    }
}
