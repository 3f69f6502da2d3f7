//! Files in the network's object store. Agents have no rights there: the bytes go through these requests in chunks.
//!
//! `registry.blob_write` and the answer of `registry.blob_read` carry bytes behind one line of JSON
//! ([`frame`](crate::blob::frame)). Requests that change something may name who asks in `account_id`; where the network
//! proves the caller it may be left out and must not name anybody else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::lenient;

/// A blob that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobInfo {
    /// The blob: `blob_` and a lower-case ULID.
    pub blob_id: String,
    /// Who owns it.
    pub account_id: String,
    /// Name of the file; may be empty. Checked: no path, no device.
    #[serde(default)]
    pub filename: String,
    /// Content type.
    pub mime_type: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content, hex.
    pub sha256: String,
    /// When it was put, ISO 8601.
    pub created_at: String,
    /// When it is removed, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What the owner says about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// How many bytes one `registry.blob_read` gives at most, and where its pieces begin: at multiples of this.
    pub chunk_size: u32,
}

/// Body of `registry.blob_begin`: begins to put a blob, or goes on with what was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobBeginRequest {
    /// Who asks, and will own it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The upload to go on with. Its other fields then count, not this request's.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
    /// Name of the file; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// Content type; `application/octet-stream` unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Size in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// SHA-256 of the content, hex, where it is known. A blob of the account with this content and name is answered
    /// instead of put again, and an upload of it gone on with.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// For how long it is kept, in seconds; the network's own time unless given, and at most that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// What the owner says about it, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// Answer to `registry.blob_begin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobBeginResponse {
    /// What the chunks go to; empty when `blob` is there.
    pub upload_id: String,
    /// How many bytes the network holds already: the next chunk begins here.
    pub position: u64,
    /// Size of every chunk but the last, in bytes.
    pub chunk_size: u32,
    /// How many chunks may be under way at once.
    pub window: u32,
    /// The blob, when the account has it already: nothing needs to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobInfo>,
}

/// First line of `registry.blob_write`; the chunk follows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobWriteRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The upload.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub upload_id: String,
    /// Where the chunk begins: a multiple of the upload's chunk size.
    #[serde(default)]
    pub offset: u64,
}

/// Answer to `registry.blob_write`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobWriteResponse {
    /// The upload.
    pub upload_id: String,
    /// How many bytes the object store holds. Below the end of the chunk: it wasn't taken, because those before it are
    /// missing; go on from here.
    pub position: u64,
}

/// Body of `registry.blob_commit`: everything was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobCommitRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The upload.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub upload_id: String,
    /// Size in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// SHA-256 of the content, hex.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub sha256: String,
}

/// Answer to `registry.blob_commit`, `registry.blob_head` and `registry.blob_share`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobResponse {
    /// The blob.
    pub blob: BlobInfo,
}

/// Body of `registry.blob_head` and `registry.blob_delete`; the latter also takes the id of an upload, which it gives up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The blob.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub blob_id: String,
}

/// Body of `registry.blob_read`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobReadRequest {
    /// The blob.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub blob_id: String,
    /// Where to begin.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes are wanted; fewer come where the stored chunk ends. One chunk unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// First line of the answer to `registry.blob_read`; the bytes follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobReadResponse {
    /// The blob.
    pub blob_id: String,
    /// Where the bytes begin.
    pub offset: u64,
    /// Size of the whole, in bytes.
    pub size_bytes: u64,
}

/// Body of `registry.blob_list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobListRequest {
    /// Whose blobs; the caller's unless given. Operators may name anybody.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; one that can't be read counts as none.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to `registry.blob_list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobListResponse {
    /// The latest first.
    pub blobs: Vec<BlobInfo>,
    /// For the next page.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// What the account's blobs and uploads take, in bytes.
    pub used_bytes: u64,
    /// What they may take, in bytes.
    pub quota_bytes: u64,
}

/// Answer to `registry.blob_delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobDeleteResponse {
    /// Whether it was there.
    pub deleted: bool,
}

/// Body of `registry.blob_share`: says, before a message is sent, that it refers to a blob. Whoever may read the message
/// may then read the blob.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlobShareRequest {
    /// Who asks, and will send the message. Must be able to read the blob.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The blob.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub blob_id: String,
    /// The message.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub message_id: String,
}

rpc!(
    /// `registry.blob_begin`.
    BlobBegin, BlobBegin, BlobBeginRequest, BlobBeginResponse
);
rpc!(
    /// `registry.blob_write`; the chunk follows the request's line.
    BlobWrite, BlobWrite, BlobWriteRequest, BlobWriteResponse
);
rpc!(
    /// `registry.blob_commit`.
    BlobCommit, BlobCommit, BlobCommitRequest, BlobResponse
);
rpc!(
    /// `registry.blob_head`.
    BlobHead, BlobHead, BlobRequest, BlobResponse
);
rpc!(
    /// `registry.blob_read`; the bytes follow the answer's line.
    BlobRead, BlobRead, BlobReadRequest, BlobReadResponse
);
rpc!(
    /// `registry.blob_list`.
    BlobList, BlobList, BlobListRequest, BlobListResponse
);
rpc!(
    /// `registry.blob_delete`.
    BlobDelete, BlobDelete, BlobRequest, BlobDeleteResponse
);
rpc!(
    /// `registry.blob_share`.
    BlobShare, BlobShare, BlobShareRequest, BlobResponse
);
