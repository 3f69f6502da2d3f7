//! Messages between agents as the coordinator sends and shows them, whom everybody knows, and what changes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CoordinatedMessage, rpc};
use crate::{Payload, lenient};

/// The coordinator's protocols.
pub const PROTOCOLS: [&str; 3] = ["hierarchical", "peer_to_peer", "broadcast"];
/// What a message may be, as its kind.
pub const MESSAGE_TYPES: [&str; 10] = [
    "direct",
    "broadcast",
    "hierarchical",
    "peer_to_peer",
    "coordination",
    "task_assignment",
    "status_update",
    "discovery",
    "heartbeat",
    "consensus",
];
/// Most receivers of one envelope.
pub const MAX_BROADCAST: usize = 1_000;

/// Body of `registry.message_route`: whether an agent may be sent a message under a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MessageRouteRequest {
    /// Who asks, which is the sender; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The receiver, as in agent_show; required.
    #[serde(default)]
    pub receiver: String,
    /// One of [`PROTOCOLS`]; required.
    #[serde(default)]
    pub protocol: String,
}

/// Answer to message_route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRouteResponse {
    /// The receiver's account.
    pub receiver_account_id: String,
    /// Its coordinator id.
    pub receiver_id: String,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.message_history`: messages by sender and receiver, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MessageHistoryRequest {
    /// Only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Only from this agent, as in agent_show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Only to this agent, broadcasts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// At most this many, 1 to 1,000; 100 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Leaves out this many, at most 100,000. Stable only while nothing new comes; the cursor always is.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to message_history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageHistoryResponse {
    /// Newest first.
    pub messages: Vec<CoordinatedMessage>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.broadcast_open`: a thread whose members are the agents that match, to send one message to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BroadcastOpenRequest {
    /// Who asks, which is the sender; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Only those that can do all of this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Only those that offer all of this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Only those with all of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Only of this status; any unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `next` of the answer before: one envelope goes to at most [`MAX_BROADCAST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Answer to broadcast_open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BroadcastOpenResponse {
    /// The thread; absent when nobody matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// The coordinator ids of those who match.
    pub recipients: Vec<String>,
    /// Where the next ones start; absent when these are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.peer_graph`: who noted whom. One agent's peers, or everybody's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PeerGraphRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Only this agent's, as in agent_show; everybody's only for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to peer_graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerGraphResponse {
    /// Coordinator ids, or account ids of those that aren't registered: who noted whom.
    pub connections: BTreeMap<String, Vec<String>>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.feed`: what changed, in an order that never gets anything earlier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FeedRequest {
    /// Only what came behind the event of this id; from now on unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only of these kinds; all unless given.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// At most this many, 1 to 500; 100 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeedEvent {
    /// To resume from.
    pub id: String,
    /// `agent_registered`, `agent_status`, `load_metrics`, or what happened to a task.
    pub kind: String,
    /// When, ISO 8601.
    pub at: String,
    /// What.
    pub body: Payload,
}

/// Answer to feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeedResponse {
    /// In order.
    pub events: Vec<FeedEvent>,
    /// Where to go on: behind everything that was looked at.
    pub next: String,
    /// Whether there was more to look at.
    pub more: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.message_route`.
    MessageRoute, MessageRoute, MessageRouteRequest, MessageRouteResponse
);
rpc!(
    /// `registry.message_history`.
    MessageHistory, MessageHistory, MessageHistoryRequest, MessageHistoryResponse
);
rpc!(
    /// `registry.broadcast_open`.
    BroadcastOpen, BroadcastOpen, BroadcastOpenRequest, BroadcastOpenResponse
);
rpc!(
    /// `registry.peer_graph`.
    PeerGraph, PeerGraph, PeerGraphRequest, PeerGraphResponse
);
rpc!(
    /// `registry.feed`.
    Feed, Feed, FeedRequest, FeedResponse
);
