//! What a batch consists of, and what became of each part.

use std::fmt;

use agentnet_proto::Timestamp;
use bytes::Bytes;
use serde_json::{Map, Value};

/// One thing the stream carried, decoded and checked.
#[derive(Debug, Clone)]
pub enum Item {
    /// A message to store.
    Message(Box<MessageRow>),
    /// A receipt that may move a delivery.
    Receipt(Box<ReceiptRow>),
    /// What can't be stored as either, with the reason.
    Quarantine(Box<QuarantineRow>),
}

/// What a committed batch did with one [`Item`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A message that is now in the database for the first time.
    Inserted,
    /// A message that was there already, with the same body.
    Repeated,
    /// Another body is stored under this message_id; nothing of this one is.
    Conflict,
    /// A receipt whose effect is in the database, now or since an earlier copy.
    Noted,
    /// A receipt that doesn't say which delivery it is about, of a message that isn't known (yet): see
    /// [`ReceiptRow::recipient`]. Nothing was written.
    Unresolved,
    /// A receipt about other content than is stored under its message_id. Nothing was written.
    Foreign,
    /// A message that vanished between two statements (pruned); try the item again.
    Vanished,
    /// A message that its sender may not post to its thread. Nothing was written.
    Forbidden,
    /// A message to a thread that is closed. Nothing was written.
    Closed,
    /// A message for members of its thread, one of which isn't. Nothing was written.
    NotAMember,
    /// A message whose sender's account is locked out. Nothing was written.
    Suspended,
    /// A message whose recipient blocks its sender. Nothing was written.
    Blocked,
    /// In the quarantine table.
    Quarantined,
}

/// One message. Texts hold no NUL and at most `agentnet_proto::envelope::MAX_FIELD_LEN` bytes: the caller checked.
#[derive(Clone)]
pub struct MessageRow {
    /// Key.
    pub message_id: String,
    /// The thread, made up if the sender named none.
    pub thread_id: String,
    /// The message it answers.
    pub parent_message_id: Option<String>,
    /// Who sent it.
    pub from_account_id: Option<String>,
    /// In which session.
    pub from_session_tag: Option<String>,
    /// The target account as the envelope names it.
    pub to_account_id: Option<String>,
    /// The logical target.
    pub to_agent: String,
    /// Kind.
    pub kind: String,
    /// Version of the envelope.
    pub schema_version: String,
    /// The sender's idempotency key.
    pub idempotency_key: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// When the sender says it was sent, else `received_at`.
    pub sent_at: Timestamp,
    /// When the network took it.
    pub received_at: Timestamp,
    /// When the network stops trying.
    pub expires_at: Option<Timestamp>,
    /// The exact bytes.
    pub body: Bytes,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// The signature header.
    pub signature: Option<String>,
    /// The text that full-text search finds it by.
    pub search: String,
    /// Bytes of the payload as the original counts them.
    pub payload_bytes: i64,
    /// Estimated tokens of the payload.
    pub tokens: i64,
    /// Set when the payload is a checkpoint: how many messages of the thread it covers.
    pub checkpoint_end: Option<i64>,
    /// Who must get it; empty for replies and errors.
    pub recipients: Vec<Recipient>,
    /// Of a message to a thread: the members it is for; empty is all of them.
    pub to_members: Vec<String>,
    /// The account whose inbox it is for, and whose blocks it must pass: answers that were asked for have none.
    pub mailbox: Option<String>,
}

/// A recipient of a message: an account, or whoever has a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// An account id, or `capability:<name>`; or `thread:<id>`, which stands for every member but the sender.
    pub name: String,
    /// Whether the network delivers it again when nobody takes it.
    pub redeliver: bool,
}

impl MessageRow {
    /// Whether it is bookkeeping of its thread, which isn't counted as pending.
    pub fn is_system(&self) -> bool {
        self.kind == agentnet_proto::envelope::kind::SYSTEM
    }

    /// Whether it answers somebody, which says nothing about whom its sender wanted in the thread.
    pub fn is_answer(&self) -> bool {
        matches!(
            self.kind.as_str(),
            agentnet_proto::envelope::kind::REPLY | agentnet_proto::envelope::kind::ERROR
        )
    }
}

// Bodies are other people's mail and don't belong into logs.
impl fmt::Debug for MessageRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRow")
            .field("message_id", &self.message_id)
            .field("thread_id", &self.thread_id)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What a receipt does to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: a status of a newer version.
    None,
    /// Refused for now (busy, rate limited, degraded, shutting down), or by one holder of a capability for itself alone:
    /// stays pending, tried again later.
    HeldBack,
    /// Handled before, or being handled: counts as accepted and moves nothing backwards.
    Duplicate,
    /// Admitted.
    Accepted,
    /// Refused for good.
    Rejected,
    /// Handled.
    Processed,
}

/// One receipt. Texts as in [`MessageRow`].
#[derive(Debug, Clone)]
pub struct ReceiptRow {
    /// Whether a receipt for a capability counts only from an account that may serve it (signed and secure mode).
    pub needs_holder: bool,
    /// The message it is about.
    pub message_id: String,
    /// The account that sent it.
    pub account_id: String,
    /// The session that sent it.
    pub session_tag: Option<String>,
    /// The delivery it is about. `None` when the receipt doesn't say (before 1.2): then the stored message tells
    /// whether it went to the account or to a capability.
    pub recipient: Option<String>,
    /// SHA-256 of the message that it is about, where it must be the one that is stored.
    pub body_sha256: Option<[u8; 32]>,
    /// What it does.
    pub effect: Effect,
    /// The code of a refusal.
    pub code: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    /// When the network took it.
    pub received_at: Timestamp,
}

/// One row of the quarantine.
#[derive(Clone)]
pub struct QuarantineRow {
    /// The subject it came on.
    pub subject: String,
    /// The bytes, possibly cut.
    pub body: Bytes,
    /// Headers, name to values.
    pub headers: Map<String, Value>,
    /// Why, a code of the protocol.
    pub code: &'static str,
    /// The same for people.
    pub detail: String,
    /// Sequence in the stream; `None` for what didn't come through it.
    pub stream_seq: Option<i64>,
    /// When the network took it.
    pub received_at: Timestamp,
}

impl fmt::Debug for QuarantineRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuarantineRow")
            .field("subject", &self.subject)
            .field("code", &self.code)
            .field("stream_seq", &self.stream_seq)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
