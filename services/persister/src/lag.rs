//! Watches how full the stream is and how far behind we are.

use std::time::Duration;

use agentnet_proto::subject::{PERSISTER_CONSUMER, STREAM};
use agentnet_service::CancellationToken;
use async_nats::jetstream::Context;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::counters::Handle;

const EVERY: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// Proves that the stream and the consumer answer, and returns (messages waiting for delivery, bytes in the stream,
/// bytes it may hold).
pub(crate) async fn look(jetstream: &Context) -> Result<(u64, u64, i64), String> {
    let stream = jetstream.get_stream(STREAM).await.map_err(|error| error.to_string())?;
    let consumer = stream.consumer_info(PERSISTER_CONSUMER).await.map_err(|error| error.to_string())?;
    let info = stream.cached_info();
    Ok((consumer.num_pending, info.state.bytes, info.config.max_bytes))
}

/// Keeps the figures current until told to stop; warns when the stream is half full, and when it no longer is.
pub(crate) async fn watch(jetstream: Context, handle: Handle, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Ok(Ok((pending, bytes, max))) = timeout(ANSWER_LIMIT, look(&jetstream)).await else {
            // The source and the readiness check say so already.
            continue;
        };
        handle.set_stream(pending, bytes);
        let half_full = u64::try_from(max).is_ok_and(|max| bytes > max / 2);
        match (half_full, warned) {
            (true, false) => {
                tracing::warn!(
                    pending,
                    bytes,
                    max,
                    "the stream is more than half full: is Postgres slow or down?"
                );
            }
            (false, true) => tracing::info!(pending, bytes, "the stream has emptied again"),
            _ => {}
        }
        warned = half_full;
    }
}
