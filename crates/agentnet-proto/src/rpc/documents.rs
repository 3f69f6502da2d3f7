//! Documents: JSON values that accounts keep on the network under keys of their own, for everybody or for themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::rpc;
use crate::{envelope::Payload, lenient};

/// Most documents of one account.
pub const MAX_DOCUMENTS: i64 = 256;
/// Longest document, as JSON text in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Longest key, in characters.
pub const MAX_DOCUMENT_KEY: usize = 128;

/// Body of `registry.data_put`. Replaces what the key held.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DataPutRequest {
    /// Who asks, and whose document it is; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The key, 1 to 128 printable characters.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub key: String,
    /// Any JSON value of at most 64 KiB, null included, kept as it is written; required.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Payload>,
    /// Whether everybody may read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// A document, perhaps without its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Whose it is.
    pub account_id: String,
    /// Its key.
    pub key: String,
    /// Its value; absent in lists that weren't asked for values.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Payload>,
    /// Whether everybody may read it.
    pub public: bool,
    /// Length of the value's text.
    pub bytes: i64,
    /// When the key was first used, ISO 8601.
    pub created_at: String,
    /// When the value was written, ISO 8601.
    pub updated_at: String,
}

/// Answer to data_put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataPutResponse {
    /// What stands there now, without its value.
    pub document: Document,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.data_get`. What one may not read looks as if it didn't exist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DataGetRequest {
    /// Who asks; may be left out where the network proves it, and for public documents.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whose document, by id or username; one's own unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its key.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub key: String,
}

/// Answer to data_get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataGetResponse {
    /// The document with its value.
    pub document: Document,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.data_list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DataListRequest {
    /// Who asks; may be left out where the network proves it, and for public documents.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whose documents, by id or username; one's own unless given. Of others only the public ones are shown.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The public documents of all accounts that aren't private instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Only keys that start so; not together with `all`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// With the values, as many as fit into one answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub values: bool,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to data_list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataListResponse {
    /// By account id, then by key.
    pub documents: Vec<Document>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.data_delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DataDeleteRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The key.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub key: String,
}

/// Answer to data_delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataDeleteResponse {
    /// The key.
    pub key: String,
    /// Whether there was such a document.
    pub deleted: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// A value that is null is one that is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

rpc!(
    /// `registry.data_put`.
    DataPut, DataPut, DataPutRequest, DataPutResponse
);
rpc!(
    /// `registry.data_get`.
    DataGet, DataGet, DataGetRequest, DataGetResponse
);
rpc!(
    /// `registry.data_list`.
    DataList, DataList, DataListRequest, DataListResponse
);
rpc!(
    /// `registry.data_delete`.
    DataDelete, DataDelete, DataDeleteRequest, DataDeleteResponse
);
