//! Notices messages that the stream holds and its consumer will never bring, and has them brought again.
//!
//! nats-server keeps the messages of a stream and the progress of a consumer in files of their own. When a disk is full
//! or a power cut takes the last writes, the two come back apart: a message whose removal was not written is there
//! again although the consumer has it behind it, and a consumer may be ahead of a stream that has lost its end. Such
//! messages stay for ever, they hold up everything that waits for the stream to be committed until now (redelivery
//! does), and a message that was never committed may be among them. A consumer made anew begins with the first message
//! that is there. What is in Postgres already is found to be so.

use std::time::Duration;

use agentnet_proto::subject::{PERSISTER_CONSUMER, STREAM};
use agentnet_service::CancellationToken;
use async_nats::jetstream::Context;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{config::StreamConfig, stream};

const EVERY: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long it must have been so: in a cluster, a message is removed a little after it was acknowledged.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Where the two stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Everything up to here is behind the consumer, and should be gone.
    acknowledged: u64,
    /// The last message that the consumer has brought.
    delivered: u64,
    /// Messages in the stream, and the first and the last of them.
    messages: u64,
    first: u64,
    last: u64,
}

impl Standing {
    /// The consumer's place must have been read before the stream's: both only grow.
    const fn is_apart(self) -> bool {
        self.messages > 0 && (self.first <= self.acknowledged || self.delivered > self.last)
    }
}

/// Watches until told to stop.
pub(crate) async fn watch(jetstream: Context, config: StreamConfig, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since: Option<(u64, Instant)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Ok(Some(standing)) = timeout(ANSWER_LIMIT, look(&jetstream)).await else {
            // The source and the readiness check say so already.
            continue;
        };
        if !standing.is_apart() {
            since = None;
            continue;
        }
        let begun = match since {
            Some((first, begun)) if first == standing.first => begun,
            _ => {
                since = Some((standing.first, Instant::now()));
                continue;
            }
        };
        if begun.elapsed() >= CERTAIN_AFTER {
            since = None;
            renew(&jetstream, &config, standing).await;
        }
    }
}

/// The consumer's place, then the stream's; `None` when one of them is missing or the server doesn't say.
async fn look(jetstream: &Context) -> Option<Standing> {
    // The server takes an empty object here, and no `null`.
    let nothing = serde_json::Map::new();
    let consumer: Consumer =
        jetstream.request(format!("CONSUMER.INFO.{STREAM}.{PERSISTER_CONSUMER}"), &nothing).await.ok()?;
    let stream = jetstream.get_stream(STREAM).await.ok()?;
    let state = &stream.cached_info().state;
    Some(Standing {
        acknowledged: consumer.ack_floor?.stream_seq,
        delivered: consumer.delivered?.stream_seq,
        messages: state.messages,
        first: state.first_sequence,
        last: state.last_sequence,
    })
}

/// Makes the consumer anew. Two replicas may do so one after the other: what was on its way comes again, that is all.
async fn renew(jetstream: &Context, config: &StreamConfig, standing: Standing) {
    tracing::error!(
        messages = standing.messages,
        first = standing.first,
        last = standing.last,
        delivered = standing.delivered,
        acknowledged = standing.acknowledged,
        "the stream holds messages that its consumer takes for done: did nats-server meet a full disk or lose power? \
         Making the consumer anew, so that they come again"
    );
    metrics::counter!("agentnet_persister_consumer_renewals").increment(1);
    let renewing = async {
        let stream = jetstream.get_stream(STREAM).await.map_err(|error| error.to_string())?;
        stream.delete_consumer(PERSISTER_CONSUMER).await.map_err(|error| error.to_string())?;
        // The sources, whose pulls the server ends now, would do it too.
        stream::ensure(jetstream, config).await.map(drop).map_err(|error| error.to_string())
    };
    if let Err(cause) =
        timeout(ANSWER_LIMIT, renewing).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    {
        tracing::warn!(cause, "the consumer can't be made anew yet; trying on");
    }
}

#[derive(Deserialize)]
struct Consumer {
    delivered: Option<Place>,
    ack_floor: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    stream_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_apart() {
        let idle = Standing { acknowledged: 10, delivered: 10, messages: 0, first: 11, last: 10 };
        assert!(!idle.is_apart());
        let at_work = Standing { acknowledged: 10, delivered: 15, messages: 8, first: 11, last: 18 };
        assert!(!at_work.is_apart());
        // Acknowledged, and there again.
        assert!(Standing { first: 4, ..at_work }.is_apart());
        // Its end is lost: what takes its place is passed over.
        assert!(Standing { last: 12, ..at_work }.is_apart());
    }
}
