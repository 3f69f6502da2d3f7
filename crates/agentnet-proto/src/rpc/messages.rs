//! A thread's messages and the search over all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::{envelope::Payload, lenient};

/// Body of `registry.thread_messages`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMessagesRequest {
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; one that can't be read counts as none.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRow {
    /// The message.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// What it answers or follows.
    pub parent_message_id: Option<String>,
    /// Sender's account.
    pub from_account_id: Option<String>,
    /// Sender's session.
    pub from_session_tag: Option<String>,
    /// Target account.
    pub to_account_id: Option<String>,
    /// Logical target.
    pub to_agent: String,
    /// Kind of message.
    pub kind: String,
    /// Schema version of its envelope.
    pub schema_version: String,
    /// The sender's idempotency key.
    pub idempotency_key: Option<String>,
    /// The content exactly as sent.
    pub payload: Payload,
    /// Trace it belongs to.
    pub trace_id: Option<String>,
    /// ISO 8601, as the sender says, or when it was received if that can't be read.
    pub sent_at: String,
    /// ISO 8601, by the network's clock.
    pub received_at: String,
    /// Always `received`.
    pub status: String,
    /// `ttl_ms`, `expires_at`, `auth_scheme`; `via`, the gateway's account through which it came.
    pub metadata: Map<String, Value>,
}

/// Answer to thread_messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMessagesResponse {
    /// As asked.
    pub thread_id: String,
    /// As applied.
    pub limit: i64,
    /// As asked.
    pub cursor: Option<String>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// Newest first.
    pub messages: Vec<MessageRow>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.message_search`; every filter is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MessageSearchRequest {
    /// Words that all occur in the payload, in any case; new here.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only this thread.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Only from this account.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
    /// Only to this account.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub to_account_id: Option<String>,
    /// Only of this kind.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Sent at or after, ISO 8601.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub from_ts: Option<String>,
    /// Sent at or before, ISO 8601.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub to_ts: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; one that can't be read counts as none.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The filters of a search, as given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MessageFilters {
    /// Absent when not asked, so that answers to old clients look as they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// As given or null.
    pub thread_id: Option<String>,
    /// As given or null.
    pub from_account_id: Option<String>,
    /// As given or null.
    pub to_account_id: Option<String>,
    /// As given or null.
    pub kind: Option<String>,
    /// As given or null.
    pub from_ts: Option<String>,
    /// As given or null.
    pub to_ts: Option<String>,
}

/// Answer to message_search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageSearchResponse {
    /// What was asked.
    pub filters: MessageFilters,
    /// As applied.
    pub limit: i64,
    /// As asked.
    pub cursor: Option<String>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// Newest first.
    pub messages: Vec<MessageRow>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.thread_messages`.
    ThreadMessages, ThreadMessages, ThreadMessagesRequest, ThreadMessagesResponse
);
rpc!(
    /// `registry.message_search`.
    MessageSearch, MessageSearch, MessageSearchRequest, MessageSearchResponse
);
