//! Changing and ending the key of an account, and checking what was signed with keys that ended.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// A key of an account and when it spoke for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRow {
    /// ed25519 public key, base64url without padding.
    pub public_key: String,
    /// From when on, ISO 8601.
    pub bound_at: String,
    /// Until when, ISO 8601; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How it ended: `rotated`, `revoked` or `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_as: Option<String>,
    /// Until when it speaks for the account, ISO 8601, where a login bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The gateway's account that holds it, where a login bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// Body of `registry.rotate`: another key takes the place of the one that signs the request.
///
/// The request carries two signatures, purpose `rotate` by the key that speaks for the account and purpose `rotate-new`
/// by the one that is to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RotateRequest {
    /// The account; the one that the old key speaks for unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The new key, base64url without padding.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub public_key: String,
}

/// Answer to rotate. The same request made again, when the first answer was lost, is answered alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotateResponse {
    /// The account.
    pub account_id: String,
    /// The key that speaks for it now.
    pub public_key: String,
    /// Since when, ISO 8601.
    pub rotated_at: String,
}

/// Body of `registry.revoke`: a key is taken out of use. Signed (purpose `revoke`) by that key or by an operator's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RevokeRequest {
    /// The account; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub account_id: String,
    /// The key; the one that speaks for the account unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// Answer to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokeResponse {
    /// The account.
    pub account_id: String,
    /// The key that means nothing any more.
    pub public_key: String,
    /// Since when, ISO 8601.
    pub revoked_at: String,
}

/// Body of `registry.evidence`: stored messages as they came, for checking them elsewhere. Exactly one of message and
/// thread is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRequest {
    /// This message.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// All of this thread.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// At most this many, 1 to 200; 50 unless given. A page also ends where an answer is full.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; one that can't be read counts as none.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A stored message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRow {
    /// The message.
    pub message_id: String,
    /// The exact bytes of its envelope, base64 with padding.
    pub envelope: String,
    /// Its `Agentnet-Signature` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// When the network took it, ISO 8601.
    pub received_at: String,
}

/// Answer to evidence: everything that is needed to check the messages without the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceResponse {
    /// The network's name, which every signature covers.
    pub deployment: String,
    /// Newest first.
    pub messages: Vec<EvidenceRow>,
    /// Every key that the senders have and had, by account.
    pub keys: BTreeMap<String, Vec<KeyRow>>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.rotate`.
    Rotate, Rotate, RotateRequest, RotateResponse
);
rpc!(
    /// `registry.revoke`.
    Revoke, Revoke, RevokeRequest, RevokeResponse
);
rpc!(
    /// `registry.evidence`.
    Evidence, Evidence, EvidenceRequest, EvidenceResponse
);
