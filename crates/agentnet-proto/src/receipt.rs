//! Receipts: what recipients tell senders, and what the network confirms to both.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::ErrorCode, lenient};

/// What a recipient says about a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReceiptStatus {
    /// Admitted: it will be handled.
    Accepted,
    /// Its handler finished.
    Processed,
    /// Refused; the receipt's code says why.
    Rejected,
    /// A status of a newer version.
    Other(String),
}

impl ReceiptStatus {
    /// The status as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Accepted => "accepted",
            Self::Processed => "processed",
            Self::Rejected => "rejected",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for ReceiptStatus {
    fn from(text: &str) -> Self {
        match text {
            "accepted" => Self::Accepted,
            "processed" => Self::Processed,
            "rejected" => Self::Rejected,
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for ReceiptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ReceiptStatus {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReceiptStatus {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text: Cow<'de, str> = lenient::string(d)?;
        Ok((&*text).into())
    }
}

impl JsonSchema for ReceiptStatus {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReceiptStatus".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "examples": ["accepted", "processed", "rejected"]})
    }
}

/// What a recipient publishes to `account.<sender>.receipts`.
// Every message has some, so both ends pass them on without copying their texts: `Receipt<&str>` writes what others own,
// `Receipt<Cow<str>>` reads what stands on the wire. The schemas show doc comments; this is none of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "S: lenient::Content<'de>"))]
#[schemars(rename = "Receipt", bound = "S: Default + Serialize + JsonSchema")]
pub struct Receipt<S = String> {
    /// The message the receipt is about.
    #[serde(default, deserialize_with = "lenient::string")]
    pub message_id: S,
    /// What happened to it.
    pub status: ReceiptStatus,
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "lenient::string")]
    pub event_at: S,
    /// The recipient's account.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<S>,
    /// The recipient's session.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub from_session_tag: Option<S>,
    /// The sender's account.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub to_account_id: Option<S>,
    /// The message's trace id.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<S>,
    /// The message's thread.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<S>,
    /// The message's parent.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub parent_message_id: Option<S>,
    /// Why it was rejected, a code of [`ErrorCode`].
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub code: Option<S>,
    /// The same for people.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub detail: Option<S>,
    /// The message's logical target as its envelope names it, from 1.2 on: tells a capability's delivery from an
    /// account's.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub to_agent: Option<S>,
    /// Lower-case hex SHA-256 of the message's body, from 1.2 on.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<S>,
    /// Version of the recipient's schema, from 1.2 on: such a recipient hears confirmations of its receipts on
    /// `account.<recipient>.stored`.
    #[serde(default, deserialize_with = "lenient::opt_string", skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<S>,
}

impl<S: AsRef<str>> Receipt<S> {
    /// The code, if this version knows it.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code.as_ref().and_then(|code| ErrorCode::parse(code.as_ref()))
    }
}

/// A receipt that the network has stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "S: lenient::Content<'de>"))]
#[schemars(rename = "StoredReceipt", bound = "S: Default + Serialize + JsonSchema")]
pub struct StoredReceipt<S = String> {
    /// The message the receipt was about.
    #[serde(deserialize_with = "lenient::text")]
    pub message_id: S,
    /// The receipt's status.
    pub status: ReceiptStatus,
}

/// A message that ended without being processed, as the network judges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedMessage {
    /// The message.
    pub message_id: String,
    /// `rejected`, `expired` or `dead`.
    pub state: String,
    /// Why, a code of [`ErrorCode`].
    pub code: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whose delivery it was; absent when the message itself was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

/// A message that a recipient took or finished over HTTP, where it sends no receipts of its own: the registry says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandledMessage {
    /// The message.
    pub message_id: String,
    /// `accepted` or `processed`.
    pub status: ReceiptStatus,
    /// Whose delivery it was.
    pub recipient: String,
}

/// What the network publishes to `account.<id>.stored`, batched: everything named here is committed in Postgres.
// `StoredNotice<&str>` writes and `StoredNotice<Cow<str>>` reads without copying the ids, as for receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "S: lenient::Content<'de>"))]
#[schemars(rename = "StoredNotice", bound = "S: Default + Serialize + JsonSchema")]
pub struct StoredNotice<S = String> {
    /// Always `stored`.
    pub status: String,
    /// Messages of this account that are stored.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub message_ids: Vec<S>,
    /// When they were committed, ISO 8601.
    pub event_at: String,
    /// Receipts of this account that are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<StoredReceipt<S>>,
    /// Messages of this account that the network refused, gave up or let expire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedMessage>,
    /// Messages of this account that recipients took or finished over HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<HandledMessage>,
}

impl<S> StoredNotice<S> {
    /// The only status a notice has.
    pub const STATUS: &'static str = "stored";

    /// An empty notice of that time.
    pub fn at(event_at: impl fmt::Display) -> Self {
        Self {
            status: Self::STATUS.to_owned(),
            message_ids: Vec::new(),
            event_at: event_at.to_string(),
            receipts: Vec::new(),
            failed: Vec::new(),
            handled: Vec::new(),
        }
    }
}
