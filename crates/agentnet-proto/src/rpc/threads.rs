//! Lists of threads and one thread's counters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Who decides about a thread's size: always `agent_infra`, since the seed version.
pub const THREAD_MANAGEMENT_OWNER: &str = "agent_infra";

/// Body of `registry.thread_list`. Old clients also send soft and hard token limits; they are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadListRequest {
    /// Part of a thread id, in any case.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub query: String,
    /// At most this many, 1 to 100; 20 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only threads this account takes part in.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub participant_account_id: Option<String>,
    /// The same by username.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub participant_username: Option<String>,
    /// `next_cursor` of the page before; new here.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A thread with its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadRow {
    /// The thread.
    pub thread_id: String,
    /// Sender of its first message.
    pub created_by_account_id: Option<String>,
    /// Accounts that sent or were addressed in it, the first 256.
    pub participants: Vec<String>,
    /// ISO 8601.
    pub created_at: String,
    /// ISO 8601.
    pub updated_at: String,
    /// Messages stored.
    pub message_count: i64,
    /// Bytes of their payloads, printed as the original prints them.
    pub byte_count: i64,
    /// Estimated tokens of the payloads.
    pub approx_tokens: i64,
    /// How many messages the newest checkpoint covers.
    pub latest_checkpoint_end: i64,
    /// Messages after it that aren't of kind system.
    pub pending_raw_messages: i64,
    /// ISO 8601.
    pub last_message_at: Option<String>,
    /// Always `ok`: what to do about long threads is the agents' business.
    pub status: String,
    /// The same as `pending_raw_messages`.
    pub pending_messages: i64,
    /// `members` when only members post and read; absent when anybody may post. New here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// True when the reader isn't part of all of the thread: others are left out of `participants`, and the figures
    /// are zero. New here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Answer to thread_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadListResponse {
    /// As asked.
    pub query: String,
    /// As applied.
    pub limit: i64,
    /// As asked, or resolved from the username; null when unknown.
    pub participant_account_id: Option<String>,
    /// As asked.
    pub participant_username: Option<String>,
    /// Characters that count as one token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_estimate_chars_per_token: Option<i64>,
    /// [`THREAD_MANAGEMENT_OWNER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_management_owner: Option<String>,
    /// Latest activity first.
    pub results: Vec<ThreadRow>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.thread_status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadStatusRequest {
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
}

/// Answer to thread_status: the thread's row and how it was estimated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadStatusResponse {
    /// The thread.
    #[serde(flatten)]
    pub thread: ThreadRow,
    /// Characters that count as one token.
    pub token_estimate_chars_per_token: i64,
    /// [`THREAD_MANAGEMENT_OWNER`].
    pub thread_management_owner: String,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.thread_list`.
    ThreadList, ThreadList, ThreadListRequest, ThreadListResponse
);
rpc!(
    /// `registry.thread_status`.
    ThreadStatus, ThreadStatus, ThreadStatusRequest, ThreadStatusResponse
);
