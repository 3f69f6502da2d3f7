//! Streamed text: the frames of `account.<id>.stream.<stream_id>`, and the payloads of messages of kind `stream`.
//!
//! A streamed text begins with a message (kind `stream`, payload `stream_start`) or with a request that says on which
//! stream it takes its reply; goes on in frames that are published and not stored; and ends with one ordinary message
//! that holds all of it. `docs/PROTOCOL.md` tells who sends what when.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{envelope::Payload, lenient, subject::is_safe_token};

/// Largest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Largest text of one delta that our client sends, in bytes; a longer one becomes several.
pub const MAX_DELTA_BYTES: usize = 8 * 1024;
/// Most deltas in one frame.
pub const MAX_FRAME_DELTAS: usize = 64;
/// Most frames of one stream per second.
pub const MAX_FRAMES_PER_SECOND: u32 = 1_000;
/// Largest streamed text, in bytes. It must fit into a message in the end, too.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// What else a stream tells about itself.
pub type Metadata = BTreeMap<String, Value>;

/// One frame of a stream, or the payload of a message of kind `stream`.
///
/// In messages the envelope says who sends; frames say it themselves, in `from_account_id`, and in signed and secure
/// mode carry that account's signature under the purpose `stream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum StreamFrame {
    /// A text begins.
    #[serde(rename = "stream_start")]
    Start(StreamStart),
    /// More of it.
    #[serde(rename = "stream_delta")]
    Delta(StreamDelta),
    /// It is complete.
    #[serde(rename = "stream_end")]
    End(StreamEnd),
    /// It won't be completed.
    #[serde(rename = "stream_error")]
    Error(StreamError),
    /// Its reader wants to read from a delta on: the first word of a reader, and its word after a gap.
    #[serde(rename = "stream_resume")]
    Resume(StreamResume),
    /// Its reader wants no more of it.
    #[serde(rename = "stream_cancel")]
    Cancel(StreamCancel),
}

fn assistant() -> String {
    "assistant".to_owned()
}

fn text_plain() -> String {
    "text/plain".to_owned()
}

/// A text begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStart {
    /// The stream; one subject token.
    pub stream_id: String,
    /// Who speaks.
    #[serde(default = "assistant")]
    pub role: String,
    /// Media type of the text.
    #[serde(default = "text_plain")]
    pub content_type: String,
    /// When it began, ISO 8601.
    #[serde(default, deserialize_with = "lenient::string")]
    pub started_at: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: Metadata,
    /// The message that will hold the finished text, from 1.2 on. Without it every part is a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Answering a resume: the next delta to be spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Answering a resume: the first delta that can still be repeated. What is missing before it comes with the
    /// finished text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_from: Option<u64>,
    /// Who sends, in frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// More of a text: one delta, or several that follow one another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamDelta {
    /// The stream.
    pub stream_id: String,
    /// The text.
    pub delta: String,
    /// Which delta it is, from 0.
    pub seq: u64,
    /// The texts of the deltas `seq + 1`, `seq + 2`, ..., from 1.2 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
    /// Who speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Media type of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Who sends, in frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// A text is complete.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamEnd {
    /// The stream.
    pub stream_id: String,
    /// How many deltas there were, in what 1.2 sends.
    #[serde(default)]
    pub seq: u64,
    /// The whole text. Always in messages of 1.2; it counts more than the deltas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// SHA-256 of the whole text as UTF-8, in lower-case hex, from 1.2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Who spoke.
    #[serde(default = "assistant")]
    pub role: String,
    /// Media type of the text.
    #[serde(default = "text_plain")]
    pub content_type: String,
    /// When it ended, ISO 8601.
    #[serde(default, deserialize_with = "lenient::string")]
    pub finished_at: String,
    /// Whether it ended early because its reader cancelled it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: Metadata,
    /// The message that holds the finished text, in frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Who sends, in frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// A text won't be completed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamError {
    /// The stream.
    pub stream_id: String,
    /// Why: a code, from 1.2 on.
    pub error: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many deltas there were.
    #[serde(default)]
    pub seq: u64,
    /// When it failed, ISO 8601.
    #[serde(default, deserialize_with = "lenient::string")]
    pub finished_at: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: Metadata,
    /// The message that was to hold the finished text, from 1.2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Who sends, in frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// A reader wants to read from a delta on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamResume {
    /// The stream.
    pub stream_id: String,
    /// The first delta that it lacks.
    #[serde(default)]
    pub seq: u64,
    /// Who reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// A reader wants no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamCancel {
    /// The stream.
    pub stream_id: String,
    /// Who reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
}

/// The bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not one of the types, or a field is missing or has another type.
    #[error("not a frame of a stream: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than [`MAX_FRAME_BYTES`], or with more than [`MAX_FRAME_DELTAS`] deltas.
    #[error("the frame is too large")]
    TooLarge,
    /// The stream's id can't stand in a subject.
    #[error("the stream's id is not one subject token")]
    BadId,
}

impl StreamFrame {
    /// Reads a frame that was published on a stream's subject.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge);
        }
        let frame: Self = serde_json::from_slice(bytes)?;
        if !is_safe_token(frame.stream_id()) {
            return Err(FrameError::BadId);
        }
        match &frame {
            Self::Delta(delta) if delta.more.len() >= MAX_FRAME_DELTAS => Err(FrameError::TooLarge),
            _ => Ok(frame),
        }
    }

    /// The frame that a message of kind `stream` carries, or a reply that ends a stream; `None` for any other payload,
    /// such as one with an empty stream_id.
    pub fn of_payload(payload: &Payload) -> Option<Self> {
        // Looked at in every message: hardly any has it.
        if !payload.get().contains("stream_") {
            return None;
        }
        let frame: Self = payload.parse().ok()?;
        let is_named = !frame.stream_id().trim().is_empty();
        let has_error = !matches!(&frame, Self::Error(error) if error.error.is_empty());
        (is_named && has_error).then_some(frame)
    }

    /// The stream.
    pub fn stream_id(&self) -> &str {
        match self {
            Self::Start(frame) => &frame.stream_id,
            Self::Delta(frame) => &frame.stream_id,
            Self::End(frame) => &frame.stream_id,
            Self::Error(frame) => &frame.stream_id,
            Self::Resume(frame) => &frame.stream_id,
            Self::Cancel(frame) => &frame.stream_id,
        }
    }

    /// Who says to send it.
    pub fn from_account_id(&self) -> Option<&str> {
        match self {
            Self::Start(frame) => frame.from_account_id.as_deref(),
            Self::Delta(frame) => frame.from_account_id.as_deref(),
            Self::End(frame) => frame.from_account_id.as_deref(),
            Self::Error(frame) => frame.from_account_id.as_deref(),
            Self::Resume(frame) => frame.from_account_id.as_deref(),
            Self::Cancel(frame) => frame.from_account_id.as_deref(),
        }
    }
}

/// SHA-256 of a text, in lower-case hex.
pub fn text_sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
