//! Blocks: whose messages an account refuses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Most accounts that one account blocks.
pub const MAX_BLOCKS: i64 = 1_000;

/// Body of `registry.block_add` and `registry.block_remove`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlockRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account whose messages are meant, by id or username; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub target: String,
}

/// Answer to block_add and block_remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockResponse {
    /// The account that was meant.
    pub account_id: String,
    /// Whether its messages are refused now.
    pub blocked: bool,
    /// Whether that is new.
    pub changed: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.block_list`: whom the asking account blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlockListRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// At most this many, 1 to 1000; 100 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A blocked account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedAccount {
    /// The account.
    pub account_id: String,
    /// Its username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Since when, ISO 8601.
    pub created_at: String,
}

/// Answer to block_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockListResponse {
    /// By account id.
    pub blocked: Vec<BlockedAccount>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `account.<id>.blocks`. News, not proof: a session that hears it asks for the list again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockEvent {
    /// Whose messages are refused, or taken again.
    pub account_id: String,
    /// Whether they are refused now.
    pub blocked: bool,
    /// ISO 8601.
    pub at: String,
}

rpc!(
    /// `registry.block_add`.
    BlockAdd, BlockAdd, BlockRequest, BlockResponse
);
rpc!(
    /// `registry.block_remove`.
    BlockRemove, BlockRemove, BlockRequest, BlockResponse
);
rpc!(
    /// `registry.block_list`.
    BlockList, BlockList, BlockListRequest, BlockListResponse
);
