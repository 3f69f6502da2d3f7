//! Asking again: a chunk that didn't arrive is sent again, until nothing has moved for too long.

use std::{future::Future, time::Duration};

use agentnet_proto::ErrorCode;
use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind};

pub(super) const FIRST: Duration = Duration::from_millis(50);
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// Whether asking again may help. A full store doesn't empty while one waits.
pub(super) fn may_pass(error: &Error) -> bool {
    let lost = matches!(
        error.kind(),
        ErrorKind::Timeout | ErrorKind::RegistryUnavailable | ErrorKind::NatsUnavailable | ErrorKind::Busy
    );
    lost || (error.is_retryable() && error.error_code() != Some(ErrorCode::BlobStoreFull))
}

/// Asks until there is an answer that counts, for `patience` at most.
pub(crate) async fn until_answered<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let give_up = Instant::now() + patience;
    let mut pause = FIRST;
    loop {
        match ask().await {
            Err(error) if may_pass(&error) && Instant::now() + pause < give_up => {
                tracing::debug!(%error, "a part of a transfer failed; it is tried again");
            }
            ended => return ended,
        }
        let part = rand::rng().random_range(0.5..1.0);
        sleep(pause.mul_f64(part)).await;
        pause = (pause * 2).min(LONGEST);
    }
}
