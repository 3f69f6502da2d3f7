//! Peers: whom an account knows. Directed: that one noted the other says nothing about the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Most peers of one account.
pub const MAX_PEERS: i64 = 1_000;

/// Body of `registry.peer_add`. Adding again changes the note, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PeerAddRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The agent that notes, as in agent_show: one that the asking account registered. The asking account itself unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The account to note, by id or username; required. On an open network also the id of one that isn't there yet.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub peer: String,
    /// For oneself, at most 4096 characters; stays as it was unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of `registry.peer_remove`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PeerRemoveRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The agent that forgets, as for peer_add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The peer, by id or username; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub peer: String,
}

/// Body of `registry.peer_list`: one's own peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PeerListRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The account.
    pub account_id: String,
    /// Its username; absent for one that isn't registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// URL of its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// What was noted about it.
    pub note: String,
    /// Whether a session of it is online.
    pub online: bool,
    /// When it was added, ISO 8601.
    pub created_at: String,
    /// When the note changed last, ISO 8601.
    pub updated_at: String,
}

/// Answer to peer_add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerAddResponse {
    /// The peer as it stands now.
    pub peer: Peer,
    /// Whether it is new.
    pub added: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Answer to peer_remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerRemoveResponse {
    /// The peer.
    pub account_id: String,
    /// Whether it was one.
    pub removed: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Answer to peer_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerListResponse {
    /// By account id.
    pub peers: Vec<Peer>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.peer_add`.
    PeerAdd, PeerAdd, PeerAddRequest, PeerAddResponse
);
rpc!(
    /// `registry.peer_remove`.
    PeerRemove, PeerRemove, PeerRemoveRequest, PeerRemoveResponse
);
rpc!(
    /// `registry.peer_list`.
    PeerList, PeerList, PeerListRequest, PeerListResponse
);
