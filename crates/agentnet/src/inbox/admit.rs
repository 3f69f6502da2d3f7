//! Admission: every check between the wire and the backlog, in the original's order.

use std::{borrow::Cow, sync::Arc, time::Duration};

use agentnet_proto::{
    AccountId, Envelope, ErrorCode, Receipt, ReceiptStatus, StreamFrame, Subject,
    envelope::{ATTEMPT_HEADER, MAX_FIELD_LEN, body_hash, kind},
    schema_version,
    signature::Purpose,
    skim,
};
use async_nats::Message;
use tokio::time::Instant;

use super::{
    Job, Untold,
    guards::{Outcome, Seen, check_time},
};
use crate::{auth::Unproved, groups::Post, node::Inner, outbox::is_transient, send::Extras};

/// Where a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The account's inbox, or a capability's subject.
    Inbox,
    /// The registry delivers it again.
    Redelivery,
}

/// Senders may write whole seconds.
const SENT_AT_PRECISION: Duration = Duration::from_secs(1);
/// Longest wait for room in the connection's queue before a receipt is left to its repetition.
const PUBLISH_WAIT: Duration = Duration::from_secs(1);
/// Larger than nearly every encoded receipt, so that writing one doesn't move it about.
const RECEIPT_SIZE: usize = 768;

impl Inner {
    /// Takes one message from the wire: into the backlog, or back with a reason.
    pub(crate) async fn admit(self: &Arc<Self>, message: Message, source: Source) {
        if message.status.is_some() {
            return;
        }
        let body = &message.payload;
        if body.len() > self.config.max_payload_bytes {
            self.metrics.payload_rejected.up();
            let limit = self.config.max_payload_bytes;
            tracing::warn!(bytes = body.len(), limit, "message refused: larger than max_payload_bytes");
            let detail = format!("message exceeds max_payload_bytes={limit}");
            return self.refuse_unread(&message, ErrorCode::PayloadTooLarge, &detail).await;
        }
        let mut envelope = match Envelope::decode(body) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.metrics.undecodable.up();
                self.metrics.dropped.up();
                tracing::warn!(%error, bytes = body.len(), "message refused: not an envelope");
                return self
                    .refuse_unread(&message, ErrorCode::InvalidEnvelope, "message is not a valid envelope")
                    .await;
            }
        };
        // The network can't store it either; and what is remembered of a message must have a bounded size.
        if let Some(field) = envelope.unfit_field() {
            self.metrics.undecodable.up();
            self.metrics.dropped.up();
            tracing::warn!(field, "message refused: a field is too long or holds NUL");
            let detail = format!("{field} is longer than {MAX_FIELD_LEN} bytes or holds NUL");
            return self.refuse_unread(&message, ErrorCode::InvalidField, &detail).await;
        }
        if let Some(reply) = &message.reply {
            envelope.reply_to = Some(reply.to_string());
        }
        if envelope.thread_id.is_none() {
            envelope.thread_id = Some(envelope.thread_id_or_default().into_owned());
        }
        // Nobody hears anything about what isn't proved to be their own.
        if let Err(unproved) = self.prove(&envelope, &message, source).await {
            return self.metrics.unproved(&unproved, &envelope);
        }
        let body_sha256 = hex(&body_hash(body));
        let attempt = attempt(&message);
        let envelope = Arc::new(envelope);
        match self.check(&envelope, source).await {
            Ok(()) => {}
            Err(Refused::Repeat(outcome)) => {
                self.metrics.duplicates.up();
                let status = match outcome {
                    Outcome::Accepted => ReceiptStatus::Accepted,
                    Outcome::Processed => ReceiptStatus::Processed,
                };
                return self.receipt(&envelope, &body_sha256, status, None).await;
            }
            Err(Refused::LeftToNetwork) => {
                tracing::debug!(
                    message_id = envelope.message_id,
                    "left to the network: who is in its thread is not known"
                );
                return;
            }
            Err(Refused::Code(code, detail)) => {
                return self.reject(&envelope, &body_sha256, code, detail).await;
            }
        }
        let now = Instant::now();
        if let Some(handler) = self.handlers.claim(&envelope) {
            self.guards.admitted(&envelope, self.account.as_str(), now);
            return self.hand_over(Job { envelope, source, body_sha256, attempt, is_told: false }, handler);
        }
        // A handler that ends at once says all there is to say: `processed` implies `accepted`, and a receipt less is a
        // third less of what a message costs everybody. What has to wait for a handler is answered now, and so are older
        // senders, who wait for this very word, and what is delivered again, whose attempts are counted by it.
        let is_told = source == Source::Redelivery
            || !schema_version::is_at_least_1_2(&envelope.schema_version)
            || !self.jobs.is_quick(now);
        // The backlog has one producer per subscription, so the check before may be out of date.
        if self.jobs.is_full() {
            return self.reject_busy(&envelope, &body_sha256).await;
        }
        self.guards.admitted(&envelope, self.account.as_str(), now);
        if is_told {
            // Kept before a worker can finish, so that the last word kept is `processed`; sent before it too.
            self.receipt_at(now, &envelope, &body_sha256, ReceiptStatus::Accepted, None).await;
        }
        match self.jobs.push(Job { envelope, source, body_sha256, attempt, is_told }, now) {
            Ok(untold) => self.tell_accepted(now, untold).await,
            Err(job) => {
                self.guards.forget(&job.envelope, self.account.as_str());
                self.reject_busy(&job.envelope, &job.body_sha256).await;
            }
        }
    }

    /// Tells senders what admission didn't.
    pub(crate) async fn tell_accepted(&self, now: Instant, untold: impl IntoIterator<Item = Untold>) {
        for Untold { envelope, body_sha256 } in untold {
            self.receipt_at(now, &envelope, &body_sha256, ReceiptStatus::Accepted, None).await;
        }
    }

    /// Where the network wants signatures: whether the message is its sender's, is for this agent, and is no repetition
    /// from before anybody here could remember it.
    async fn prove(&self, envelope: &Envelope, message: &Message, source: Source) -> Result<(), Unproved> {
        if !self.auth.checks() {
            return Ok(());
        }
        let is_live = source == Source::Inbox;
        self.auth.check_message(envelope, message, is_live, &self.registry).await?;
        self.check_addressee(envelope)?;
        // What was sent earlier either came in live then, or comes by redelivery, where Postgres knows how it ended.
        let remembered_since =
            self.began_at.max(self.clock.now().saturating_sub(self.config.guards.dedupe_ttl));
        let is_older =
            envelope.sent_at().is_none_or(|at| at.saturating_add(SENT_AT_PRECISION) < remembered_since);
        if source == Source::Inbox && is_older { Err(ErrorCode::Duplicate.into()) } else { Ok(()) }
    }

    async fn check(&self, envelope: &Envelope, source: Source) -> Result<(), Refused> {
        schema_version::check(&envelope.schema_version)
            .map_err(|code| Refused::Code(code, "message schema_version is not supported"))?;
        // Before what is only for now: nobody tries this again. Answers to what the account asked come elsewhere; what calls
        // itself one here is a message like any other.
        if self.blocks.refuse(envelope) {
            return Err(Refused::Code(ErrorCode::Blocked, "the recipient has blocked the sender"));
        }
        if !self.is_accepting() {
            return Err(Refused::Code(ErrorCode::ShuttingDown, "agent is shutting down"));
        }
        let now = Instant::now();
        if self.guards.circuit_open(now) {
            return Err(Refused::Code(ErrorCode::ServiceDegraded, "circuit breaker open"));
        }
        check_time(envelope, source, self.clock.as_ref())
            .map_err(|code| Refused::Code(code, time_detail(code)))?;
        if source == Source::Inbox && !self.is_within_rate(envelope) {
            return Err(Refused::Code(ErrorCode::RateLimited, "sender rate exceeded"));
        }
        // Behind the rate, so that strangers can't make us ask without end.
        if source == Source::Inbox {
            match self.check_post(envelope).await {
                Post::Fine => {}
                Post::Stranger => {
                    return Err(Refused::Code(
                        ErrorCode::ThreadForbidden,
                        "only members may post to this thread",
                    ));
                }
                Post::Unknown => return Err(Refused::LeftToNetwork),
            }
        }
        match self.guards.seen(envelope, self.account.as_str(), now) {
            Seen::No => Ok(()),
            // Older senders expect the original's answer; the network wants to know how its redelivery ended.
            Seen::Message(outcome)
                if source == Source::Redelivery
                    || schema_version::is_at_least_1_2(&envelope.schema_version) =>
            {
                Err(Refused::Repeat(outcome))
            }
            Seen::Message(_) => {
                Err(Refused::Code(ErrorCode::Duplicate, "message_id has already been processed"))
            }
            Seen::IdempotencyKey => {
                Err(Refused::Code(ErrorCode::Duplicate, "idempotency_key has already been processed"))
            }
        }
    }

    fn is_within_rate(&self, envelope: &Envelope) -> bool {
        // How many tasks it takes, an agent says itself.
        if self.tasks.brings(envelope) {
            return true;
        }
        let is_part = envelope.kind == kind::STREAM
            && matches!(StreamFrame::of_payload(&envelope.payload), Some(StreamFrame::Delta(_)))
            && self.handlers.stream_handler_of(envelope).is_some();
        if is_part { self.guards.within_rate_of_parts(envelope) } else { self.guards.within_rate(envelope) }
    }

    async fn reject_busy(self: &Arc<Self>, envelope: &Envelope, body_sha256: &str) {
        self.reject(envelope, body_sha256, ErrorCode::Busy, "agent backlog is full").await;
    }

    /// Refuses a message: a receipt, and an error reply if a reply is waited for.
    pub(crate) async fn reject(
        self: &Arc<Self>,
        envelope: &Envelope,
        body_sha256: &str,
        code: ErrorCode,
        detail: &str,
    ) {
        let counter = match code {
            ErrorCode::RateLimited => Some(&self.metrics.rate_limited),
            ErrorCode::Expired | ErrorCode::MissingTtl => Some(&self.metrics.expired),
            ErrorCode::Duplicate => Some(&self.metrics.duplicates),
            ErrorCode::Busy => Some(&self.metrics.busy),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.up();
        }
        tracing::debug!(message_id = envelope.message_id, code = code.as_str(), detail, "message rejected");
        self.receipt(envelope, body_sha256, ReceiptStatus::Rejected, Some((code, detail))).await;
        self.reply_error(envelope, code, detail).await;
    }

    /// Tells the sender of something that isn't a fit envelope, or isn't JSON at all, if it says who it is. Fields that
    /// don't fit are left out of the answer.
    async fn refuse_unread(self: &Arc<Self>, message: &Message, code: ErrorCode, detail: &str) {
        // Who sent it can't be proved of what can't be read.
        if self.auth.checks() {
            return;
        }
        const WANTED: [&str; 8] = [
            "message_id",
            "from_account_id",
            "from_agent",
            "trace_id",
            "thread_id",
            "to_agent",
            "kind",
            "reply_to",
        ];
        let mut fields = skim::text_members(&message.payload, &WANTED);
        let mut text = |name: &str| fields.remove(name);
        let (Some(message_id), Some(from)) = (text("message_id"), text("from_account_id")) else { return };
        let known = serde_json::json!({
            "message_id": message_id, "from_account_id": from, "from_agent": text("from_agent"),
            "trace_id": text("trace_id"), "thread_id": text("thread_id"), "to_agent": text("to_agent"),
            "kind": text("kind"), "reply_to": message.reply.as_ref().map(ToString::to_string).or(text("reply_to")),
        });
        let Ok(envelope) = serde_json::from_value::<Envelope>(known) else { return };
        self.reject(&envelope, &hex(&body_hash(&message.payload)), code, detail).await;
    }

    /// Takes a recipient's word about a message of ours.
    pub(crate) async fn take_receipt(&self, message: &Message) {
        let receipt = match serde_json::from_slice::<Receipt<Cow<'_, str>>>(&message.payload) {
            Ok(receipt) => receipt,
            Err(error) => return tracing::debug!(%error, "receipt ignored: can't be read"),
        };
        // Most receipts that come in here are about messages that nobody waits for any more.
        let Some(track) = self.outbox.wanting(&receipt) else { return };
        match self.auth.check_receipt(&receipt, track.capability(), message, &self.registry).await {
            Ok(()) => {
                track.receipt(&receipt);
            }
            Err(unproved) => self.metrics.unproved_receipt(&unproved, &receipt),
        }
    }

    pub(crate) async fn receipt(
        &self,
        envelope: &Envelope,
        body_sha256: &str,
        status: ReceiptStatus,
        reason: Option<(ErrorCode, &str)>,
    ) {
        self.receipt_at(Instant::now(), envelope, body_sha256, status, reason).await;
    }

    /// Tells the sender what became of a message.
    pub(crate) async fn receipt_at(
        &self,
        now: Instant,
        envelope: &Envelope,
        body_sha256: &str,
        status: ReceiptStatus,
        reason: Option<(ErrorCode, &str)>,
    ) {
        let Some(to) = envelope.from_account_id.as_deref().and_then(|id| AccountId::new(id).ok()) else {
            return;
        };
        let message_id = envelope.message_id.as_str();
        let Some(body) = self.receipt_body(envelope, &to, body_sha256, status.clone(), reason) else {
            return;
        };
        let (subject, body) = (Subject::Receipts(to).to_string(), bytes::Bytes::from(body));
        // What the network tries again anyway needs no confirmation, and a duplicate was answered before.
        let keep = !message_id.is_empty()
            && reason.is_none_or(|(code, _)| !is_transient(code.as_str()) && code != ErrorCode::Duplicate);
        let signature = self.auth.signature(&Purpose::Receipt, &body);
        if keep {
            let wire = (subject.clone(), signature.clone(), body.clone());
            self.receipts.keep(message_id, status, wire, now);
        }
        let extras = Extras { reply: None, signature };
        if let Err(error) = self.publish(subject, extras, body, now + PUBLISH_WAIT).await {
            tracing::debug!(%error, message_id, "receipt not sent");
        }
    }

    fn receipt_body(
        &self,
        envelope: &Envelope,
        to: &AccountId,
        body_sha256: &str,
        status: ReceiptStatus,
        reason: Option<(ErrorCode, &str)>,
    ) -> Option<Vec<u8>> {
        let (event_at, session_tag) = (self.clock.now().to_string(), self.session_tag());
        let receipt = Receipt {
            message_id: envelope.message_id.as_str(),
            status,
            event_at: &event_at,
            from_account_id: Some(self.account.as_str()),
            from_session_tag: Some(&session_tag),
            to_account_id: Some(to.as_str()),
            trace_id: Some(envelope.trace_id.as_deref().unwrap_or(&envelope.message_id)),
            thread_id: envelope.thread_id.as_deref(),
            parent_message_id: envelope.parent_message_id.as_deref(),
            code: reason.map(|(code, _)| code.as_str()),
            detail: reason.map(|(_, detail)| detail),
            to_agent: Some(&envelope.to_agent),
            body_sha256: Some(body_sha256),
            schema_version: Some(schema_version::CURRENT),
        };
        let mut body = Vec::with_capacity(RECEIPT_SIZE);
        serde_json::to_writer(&mut body, &receipt).ok()?;
        Some(body)
    }
}

/// Why a message doesn't get into the backlog.
enum Refused {
    Code(ErrorCode, &'static str),
    /// Nothing is said: the network stores it if it is in order, and delivers it again.
    LeftToNetwork,
    /// It was here before; how that went is told again.
    Repeat(Outcome),
}

fn time_detail(code: ErrorCode) -> &'static str {
    if code == ErrorCode::SentAtInFuture {
        "sent_at lies in the future; check the sender's clock"
    } else {
        "message ttl invalid or expired"
    }
}

/// Which delivery attempt the message is, from 1.
fn attempt(message: &Message) -> u32 {
    let header = message.headers.as_ref().and_then(|headers| headers.get(ATTEMPT_HEADER));
    header.and_then(|value| value.as_str().parse().ok()).filter(|n| *n > 0).unwrap_or(1)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // By hand: the formatting machinery costs more than the hash, for every message.
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
