//! What passes over a session's socket, in the seed's shape.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageType {
    /// Something a person says.
    Text,
    /// A sign of life.
    Ping,
    /// Something went wrong; `metadata.code` says what.
    Error,
    /// Something to know.
    Info,
    /// Something the network says.
    System,
    /// Something an agent says.
    Response,
    /// The conversation is to end, or has.
    Stop,
    /// The agent rests for a while.
    Cooldown,
}

/// A frame, from a client or to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WebSocketMessage {
    /// What it is.
    #[serde(rename = "type")]
    pub(crate) kind: MessageType,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sender: Option<String>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) receiver: Option<String>,
    /// When, ISO 8601.
    #[serde(default)]
    pub(crate) timestamp: String,
    /// More about it: `role`, `provider`, `model`, `message_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Map<String, Value>>,
}

impl WebSocketMessage {
    /// Something the gateway itself says.
    pub(super) fn own(kind: MessageType, content: Option<&str>, timestamp: String) -> Self {
        let metadata =
            (kind != MessageType::Ping).then(|| Map::from_iter([("role".to_owned(), json!("system"))]));
        Self { kind, content: content.map(str::to_owned), sender: None, receiver: None, timestamp, metadata }
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_examples_are_read() {
        let text = r#"{"type": "text", "content": "Hello AI!", "timestamp": "2024-02-23T12:00:00Z"}"#;
        let frame: WebSocketMessage = serde_json::from_str(text).unwrap();
        assert_eq!((frame.kind, frame.content.as_deref()), (MessageType::Text, Some("Hello AI!")));
        let ping: WebSocketMessage = serde_json::from_str(r#"{"type":"ping"}"#).unwrap();
        assert_eq!(ping.kind, MessageType::Ping);
        assert!(serde_json::from_str::<WebSocketMessage>(r#"{"type":"shout"}"#).is_err());
    }
}
