//! Chat sessions: threads `chat:<id>` whose members hear what everybody says. The payload of their messages, and how
//! clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{envelope::Payload, error::ErrorCode};

/// Kind of what is said in a session.
pub const KIND: &str = "chat";
/// Kind of what takes back something that was said; its payload is a [`TakenBack`].
pub const DELETED: &str = "chat.deleted";
/// The name under which sessions of one account tell each other what they said.
pub const TOLD: &str = "chat";
/// Longest id of a session, in bytes.
pub const MAX_SESSION_ID: usize = 128;

/// The thread of a session.
///
/// # Errors
/// [`ErrorCode::InvalidField`] for an id that is empty, too long, or holds control characters.
pub fn thread_of(session_id: &str) -> Result<String, ErrorCode> {
    if session_id.is_empty() || session_id.len() > MAX_SESSION_ID || session_id.chars().any(char::is_control)
    {
        return Err(ErrorCode::InvalidField);
    }
    Ok(format!("chat:{session_id}"))
}

/// As whom something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// A person.
    User,
    /// An agent.
    Assistant,
    /// The one who runs the session.
    System,
}

/// Payload of a message of kind [`KIND`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatSaid {
    /// What is said.
    pub text: String,
    /// The session.
    pub session_id: String,
    /// As whom.
    pub role: ChatRole,
    /// The username of who says it, for recipients that don't look it up: a word of its sender's, so others do.
    pub sender: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl ChatSaid {
    /// What a message of a session's thread says. Members that are agents need not know of sessions: whatever they send that
    /// has a text is said as `assistant`.
    #[must_use]
    pub fn of(kind: &str, payload: &Payload, session_id: &str, from: &str) -> Option<Self> {
        match kind {
            KIND => payload.parse().ok().filter(|said: &Self| said.session_id == session_id),
            DELETED => None,
            _ => Some(Self {
                text: payload.as_text()?,
                session_id: session_id.to_owned(),
                role: ChatRole::Assistant,
                sender: from.to_owned(),
                metadata: None,
            }),
        }
    }
}

/// Payload of a message of kind [`DELETED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenBack {
    /// The message that isn't shown any more.
    pub message_id: String,
}

/// Something that was said, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatMessage {
    /// The session.
    pub session_id: String,
    /// As whom it was said.
    pub role: ChatRole,
    /// The text.
    pub content: String,
    /// The message.
    pub message_id: String,
    /// The username of who said it, as the network has it; the account where it has none.
    pub sender: String,
    /// The account that said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// When, ISO 8601.
    pub timestamp: String,
    /// Its number in the session, from 0; messages that just came have none. Numbers stay: taking one back leaves a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// More about it, as its sender gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl ChatMessage {
    /// What `account_id` said, with when and under which id. The sender's name is the account until it is looked up: what
    /// the payload says of it is anybody's word.
    #[must_use]
    pub fn new(said: ChatSaid, account_id: String, message_id: String, timestamp: String) -> Self {
        Self {
            session_id: said.session_id,
            role: said.role,
            content: said.text,
            message_id,
            sender: account_id.clone(),
            account_id: Some(account_id),
            timestamp,
            index: None,
            metadata: said.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_that_know_nothing_of_sessions_are_heard() {
        let said = |kind: &str, payload: Value| ChatSaid::of(kind, &Payload::from(payload), "s", "bob");
        let own = json!({"text": "hi", "session_id": "s", "role": "user", "sender": "ann"});
        assert_eq!(said(KIND, own).unwrap().role, ChatRole::User);
        let agent = said("direct", json!({"text": "hello"})).unwrap();
        assert_eq!((agent.role, agent.sender.as_str()), (ChatRole::Assistant, "bob"));
        assert_eq!(said("direct", json!({"n": 1})), None);
        assert_eq!(said(DELETED, json!({"message_id": "m", "text": "x"})), None);
        assert_eq!(said(KIND, json!({"text": "hi"})), None);
    }

    #[test]
    fn ids_of_sessions() {
        assert_eq!(thread_of("abc123").unwrap(), "chat:abc123");
        for bad in ["", "a\nb", &"x".repeat(129)] {
            assert!(thread_of(bad).is_err(), "{bad:?}");
        }
    }
}
