//! Chat sessions by name: whoever is in one hears what everybody says, and what was said can be read again.
//!
//! A session is the thread `chat:<id>` with members, public: whoever knows its id may come in. Everything said is a message
//! of the network, stored and delivered like any other.
//!
//! ```no_run
//! # async fn run(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
//! let chat = agentnet::ChatManager::new(&node);
//! chat.send_message("abc123", "Welcome to the session!").await?;
//! for message in chat.get_user_messages("abc123").await? {
//!     println!("{}: {}", message.sender, message.content);
//! }
//! # Ok(())
//! # }
//! ```

mod history;

pub use history::ChatPage;

use agentnet_proto::{
    ErrorCode, Payload,
    chat::{ChatMessage, ChatRole, ChatSaid, KIND, TOLD, thread_of},
    rpc::ThreadCreateRequest,
};
use serde_json::{Map, Value};

use crate::{
    error::Error,
    node::{AgentNode, Observation, Observed},
    send::Stage,
    target::Target,
};

/// Chat sessions, with an agent's eyes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChatManager {
    node: AgentNode,
}

impl ChatManager {
    /// Chat sessions for this agent.
    #[must_use]
    pub fn new(node: &AgentNode) -> Self {
        Self { node: node.clone() }
    }

    /// Comes into a session, which begins with whoever comes first.
    ///
    /// # Errors
    /// `invalid_field` for an id that can't be one; as [`AgentNode::join_thread`].
    pub async fn join(&self, session_id: &str) -> Result<(), Error> {
        let thread_id = thread(session_id)?;
        let request = ThreadCreateRequest {
            thread_id: Some(thread_id.clone()),
            title: thread_id.clone(),
            public: true,
            ..ThreadCreateRequest::default()
        };
        match self.node.create_thread_as(request).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == ErrorCode::ThreadExists.as_str() => {
                self.node.join_thread(&thread_id).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Says something to everybody in the session, as `system`, and comes in before.
    ///
    /// # Errors
    /// As [`add_message`](Self::add_message).
    pub async fn send_message(&self, session_id: &str, content: &str) -> Result<ChatMessage, Error> {
        self.join(session_id).await?;
        self.add_message(session_id, ChatRole::System, content, None).await
    }

    /// Says something to everybody in the session, which this agent must be in. It is stored when this returns.
    ///
    /// # Errors
    /// `thread_forbidden` outside of the session; as a send.
    pub async fn add_message(
        &self,
        session_id: &str,
        role: ChatRole,
        content: &str,
        metadata: Option<Map<String, Value>>,
    ) -> Result<ChatMessage, Error> {
        let thread_id = thread(session_id)?;
        let said = ChatSaid {
            text: content.to_owned(),
            session_id: session_id.to_owned(),
            role,
            sender: self.node.username(),
            metadata,
        };
        let sent = self
            .node
            .send(Target::thread(&thread_id)?, &said)
            .thread(thread_id)
            .kind(KIND)
            .until(Stage::Stored)
            .await?;
        let message = ChatMessage::new(said, sent.message_id, self.node.inner.clock.now().to_string());
        // Nobody gets mail from themselves; other clients of this account hear of it so.
        if let Ok(told) = serde_json::to_vec(&message) {
            self.node.tell(TOLD, told).await?;
        }
        Ok(message)
    }

    /// Hears what is said in every session that this agent is in; [`message_of`](Self::message_of) reads it.
    ///
    /// # Errors
    /// As [`AgentNode::observe`].
    pub async fn listen(&self) -> Result<Observation, Error> {
        self.node.observe(&[Observed::Mail, Observed::Told(TOLD.to_owned())]).await
    }

    /// What a body that was heard says in the session, if it is something said there.
    #[must_use]
    pub fn message_of(session_id: &str, body: &[u8]) -> Option<ChatMessage> {
        if let Ok(told) = serde_json::from_slice::<ChatMessage>(body) {
            return (told.session_id == session_id).then_some(told);
        }
        let envelope = agentnet_proto::Envelope::decode(body).ok()?;
        let thread_id = thread(session_id).ok()?;
        if envelope.thread_id.as_deref() != Some(thread_id.as_str()) {
            return None;
        }
        let said = ChatSaid::of(&envelope.kind, &envelope.payload, session_id, &envelope.from_agent)?;
        (said.session_id == session_id)
            .then(|| ChatMessage::new(said, envelope.message_id.clone(), envelope.sent_at.clone()))
    }

    /// What was said as `user`.
    ///
    /// # Errors
    /// As [`list_messages`](Self::list_messages).
    pub async fn get_user_messages(&self, session_id: &str) -> Result<Vec<ChatMessage>, Error> {
        self.said_as(session_id, ChatRole::User).await
    }

    /// What was said as `system`.
    ///
    /// # Errors
    /// As [`list_messages`](Self::list_messages).
    pub async fn get_system_messages(&self, session_id: &str) -> Result<Vec<ChatMessage>, Error> {
        self.said_as(session_id, ChatRole::System).await
    }

    async fn said_as(&self, session_id: &str, role: ChatRole) -> Result<Vec<ChatMessage>, Error> {
        let mut messages = self.list_messages(session_id).await?;
        messages.retain(|message| message.role == role);
        Ok(messages)
    }
}

fn thread(session_id: &str) -> Result<String, Error> {
    thread_of(session_id).map_err(|code| {
        Error::of(
            code,
            format!("{session_id:?} is no id of a session; use 1 to 128 bytes without control characters"),
        )
    })
}

/// A payload's account of who took it back.
fn taken_back(payload: &Payload) -> Option<String> {
    payload.parse::<agentnet_proto::chat::TakenBack>().ok().map(|taken| taken.message_id)
}
