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

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use agentnet_proto::{
    Envelope, ErrorCode, Payload, Subject,
    chat::{ChatMessage, ChatRole, ChatSaid, KIND, TOLD, thread_of},
    rpc::{ProfileRequest, ThreadCreateRequest},
};
use async_nats::Message;
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
    /// Usernames of accounts that said something.
    names: Arc<Mutex<HashMap<String, String>>>,
}

/// Usernames that are remembered.
const MAX_NAMES: usize = 1024;

impl ChatManager {
    /// Chat sessions for this agent.
    #[must_use]
    pub fn new(node: &AgentNode) -> Self {
        Self { node: node.clone(), names: Arc::default() }
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
        let own = self.node.account_id().to_owned();
        let now = self.node.inner.clock.now().to_string();
        let mut message = ChatMessage::new(said, own, sent.message_id, now);
        message.sender = self.node.username();
        // Nobody gets mail from themselves; other clients of this account hear of it so.
        if let Ok(told) = serde_json::to_vec(&message) {
            self.node.tell(TOLD, told).await?;
        }
        Ok(message)
    }

    /// Hears what is said in every session that this agent is in; [`heard`](Self::heard) reads it.
    ///
    /// # Errors
    /// As [`AgentNode::observe`].
    pub async fn listen(&self) -> Result<Observation, Error> {
        self.node.observe(&[Observed::Mail, Observed::Told(TOLD.to_owned())]).await
    }

    /// What a message that was heard says in the session, if it is something said there. Its sender is the account that
    /// sent it, by the name the network has for it.
    pub async fn heard(&self, session_id: &str, message: &Message) -> Option<ChatMessage> {
        if let Ok(Subject::Stream(account, name)) = message.subject.parse::<Subject>() {
            if account.as_str() != self.node.account_id() || name.as_str() != TOLD {
                return None;
            }
            let told: ChatMessage = serde_json::from_slice(&message.payload).ok()?;
            let told = ChatMessage { account_id: Some(account.to_string()), ..told };
            return (told.session_id == session_id).then_some(told);
        }
        let envelope = Envelope::decode(&message.payload).ok()?;
        let thread_id = thread(session_id).ok()?;
        if envelope.thread_id.as_deref() != Some(thread_id.as_str()) {
            return None;
        }
        let from = envelope.from_account_id.as_deref()?;
        let said = ChatSaid::of(&envelope.kind, &envelope.payload, session_id, from)?;
        let (message_id, sent_at) = (envelope.message_id.clone(), envelope.sent_at.clone());
        let message = ChatMessage::new(said, from.to_owned(), message_id, sent_at);
        Some(ChatMessage { sender: self.name_of(from).await, ..message })
    }

    /// The account's username; the account itself while that can't be found out.
    async fn name_of(&self, account_id: &str) -> String {
        let names = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names().get(account_id) {
            return name.clone();
        }
        let request = ProfileRequest { account_id: Some(account_id.to_owned()), username: None };
        let Ok(profile) = self.node.registry().profile(&request).await else { return account_id.to_owned() };
        let name = if profile.username.is_empty() { account_id.to_owned() } else { profile.username };
        let mut names = names();
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(account_id.to_owned(), name.clone());
        name
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
