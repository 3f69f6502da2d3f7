//! After a commit: tells senders, then the stream.

use std::time::Duration;

use agentnet_service::nats::Nats;
use agentnet_store::ingest::Verdict;
use tokio::sync::mpsc;

use crate::{
    counters::{Count, Handle},
    notice::Notices,
    work::{Committed, Outcome},
};

/// Longest wait for the connection to take the notices. Without them nothing is acknowledged, so that the stream
/// delivers again and the senders are told then.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// When a receipt whose message isn't there yet is tried again.
const POSTPONE: Duration = Duration::from_millis(250);

/// The answering stage.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) nats: Nats,
    pub(crate) input: mpsc::Receiver<Committed>,
    pub(crate) handle: Handle,
}

impl Notifier {
    /// Answers until there is nothing more to come.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.input.recv().await {
            self.count(&batch);
            if self.tell_senders(&batch).await {
                self.tell_stream(&batch).await;
            }
        }
        // The acknowledgements are only queued so far.
        if let Err(error) = self.nats.flush(FLUSH_LIMIT).await {
            tracing::warn!(%error, "last acknowledgements not sent; the stream will deliver again");
        }
    }

    /// Publishes the notices. Returns whether the connection took them all.
    async fn tell_senders(&self, batch: &Committed) -> bool {
        let mut notices = Notices::at(batch.at);
        for (meta, outcome) in &batch.parts {
            if let Some(answer) = &meta.answer {
                notices.add(answer, outcome);
            }
        }
        let client = self.nats.client();
        let mut any = false;
        for (subject, notice) in notices.finish() {
            let body = match serde_json::to_vec(&notice) {
                Ok(body) => body,
                Err(error) => {
                    tracing::error!(%error, subject, "a notice can't be encoded");
                    continue;
                }
            };
            any = true;
            if let Err(error) = client.publish(subject, body.into()).await {
                tracing::warn!(%error, "notices not sent; the stream will deliver again");
                return false;
            }
        }
        if !any {
            return true;
        }
        match self.nats.flush(FLUSH_LIMIT).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "notices not sent; the stream will deliver again");
                false
            }
        }
    }

    async fn tell_stream(&self, batch: &Committed) {
        let client = self.nats.client();
        for (meta, outcome) in &batch.parts {
            let Some(ack) = &meta.ack else { continue };
            match outcome {
                Outcome::Written(Verdict::Unresolved | Verdict::Vanished) => {
                    ack.later(client, POSTPONE).await
                }
                Outcome::Written(_) | Outcome::Refused { .. } => ack.done(client).await,
            }
        }
    }

    fn count(&self, batch: &Committed) {
        let mut counts = [
            (Count::Messages, 0),
            (Count::Repeated, 0),
            (Count::Conflicts, 0),
            (Count::Forbidden, 0),
            (Count::Receipts, 0),
            (Count::Quarantined, 0),
            (Count::Postponed, 0),
        ];
        for (_, outcome) in &batch.parts {
            let place = match outcome {
                Outcome::Written(Verdict::Inserted) => 0,
                Outcome::Written(Verdict::Repeated) => 1,
                Outcome::Written(Verdict::Conflict | Verdict::Foreign) => 2,
                Outcome::Written(
                    Verdict::Forbidden
                    | Verdict::Closed
                    | Verdict::NotAMember
                    | Verdict::Suspended
                    | Verdict::Blocked,
                ) => 3,
                Outcome::Written(Verdict::Noted) => 4,
                Outcome::Written(Verdict::Quarantined) | Outcome::Refused { .. } => 5,
                Outcome::Written(Verdict::Unresolved | Verdict::Vanished) => 6,
            };
            if let Some((_, count)) = counts.get_mut(place) {
                *count += 1;
            }
        }
        for (count, by) in counts {
            self.handle.add(count, by);
        }
    }
}
