//! What became of messages: deliveries, the path of one message, trying again. New here; the original has no such
//! methods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Body of `registry.deliveries`; every filter is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DeliveriesRequest {
    /// Only of this message.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Only in this thread.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Only to this recipient: an account id, or `capability:<name>`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Only from this account.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub sender_account_id: Option<String>,
    /// Only in this state: `pending`, `accepted`, `processed`, `rejected`, `expired` or `dead`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; one that can't be read counts as none.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A message and one of its recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRow {
    /// The message.
    pub message_id: String,
    /// An account id, or `capability:<name>`.
    pub recipient: String,
    /// `pending`, `accepted`, `processed`, `rejected`, `expired` or `dead`.
    pub state: String,
    /// Who sent it.
    pub sender_account_id: Option<String>,
    /// The message's thread.
    pub thread_id: Option<String>,
    /// ISO 8601, by the sender's clock.
    pub sent_at: String,
    /// When the network took it, ISO 8601.
    pub created_at: String,
    /// The account that answered last.
    pub handler_account_id: Option<String>,
    /// The session that answered last.
    pub owner_session: Option<String>,
    /// How often a session accepted it and was lost before it finished.
    pub attempts: i32,
    /// How often the network delivered it again.
    pub redeliveries: i32,
    /// When the network tries next, ISO 8601; null when it doesn't.
    pub next_attempt_at: Option<String>,
    /// Whether it waits for somebody to come online: then a hello is the next attempt.
    pub waits_for_recipient: bool,
    /// When the network stops trying, ISO 8601.
    pub expires_at: Option<String>,
    /// Code of the last refusal, or of why it ended.
    pub last_code: Option<String>,
    /// The same for people.
    pub last_detail: Option<String>,
    /// When somebody first accepted it, ISO 8601.
    pub accepted_at: Option<String>,
    /// When it ended, ISO 8601.
    pub finished_at: Option<String>,
}

/// Answer to deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveriesResponse {
    /// As applied.
    pub limit: i64,
    /// As asked.
    pub cursor: Option<String>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// Newest message first.
    pub deliveries: Vec<DeliveryRow>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.redrive`: one of `message_id`, `recipient` and `all` is required.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RedriveRequest {
    /// This message's deliveries that are dead or expired.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Dead deliveries to this recipient: an account id, or `capability:<name>`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Every dead delivery.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// At most this many, 1 to 1000; 1000 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// A delivery's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryKey {
    /// The message.
    pub message_id: String,
    /// An account id, or `capability:<name>`.
    pub recipient: String,
}

/// Answer to redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedriveResponse {
    /// What is pending again, with all attempts and its whole time to live before it.
    pub redriven: Vec<DeliveryKey>,
    /// Whether the limit was reached: there may be more.
    pub more: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.why`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WhyRequest {
    /// The message; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub message_id: String,
}

/// One thing that happened to a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryEventRow {
    /// When, ISO 8601, by the network's clock.
    pub at: String,
    /// `redelivered`, `taken_back`, `redriven`, `held_back`, `duplicate`, `accepted`, `processed`, `rejected`, `expired`
    /// or `dead`.
    pub what: String,
    /// Whose delivery.
    pub recipient: String,
    /// Which attempt it belongs to, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The account that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The session that said so, or that was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// A code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Answer to why: the whole path of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyResponse {
    /// The message.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// Sender's account.
    pub from_account_id: Option<String>,
    /// Sender's session.
    pub from_session_tag: Option<String>,
    /// Logical target.
    pub to_agent: String,
    /// Kind of message.
    pub kind: String,
    /// ISO 8601, by the sender's clock.
    pub sent_at: String,
    /// When the network took it, ISO 8601. It is stored: that is why there is an answer.
    pub received_at: String,
    /// When the network stops trying, ISO 8601.
    pub expires_at: Option<String>,
    /// One for each recipient, at most 500; none for replies.
    pub deliveries: Vec<DeliveryRow>,
    /// What happened to them beyond the straight way, oldest first; bounded for each delivery, the newest are kept.
    pub events: Vec<DeliveryEventRow>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.deliveries`.
    Deliveries, Deliveries, DeliveriesRequest, DeliveriesResponse
);
rpc!(
    /// `registry.redrive`.
    Redrive, Redrive, RedriveRequest, RedriveResponse
);
rpc!(
    /// `registry.why`.
    Why, Why, WhyRequest, WhyResponse
);
