//! What a client is shown of what passes in the thread.

use agentnet_proto::{Envelope, envelope::kind};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    super::{
        frame::{MessageType, WebSocketMessage},
        record::{self, Record, SessionType},
    },
    close,
    talk::Chat,
};
use crate::sockets::{End, Socket};

/// Something that was said in the thread, live or before.
pub(super) struct Said<'a> {
    pub(super) from: &'a str,
    pub(super) message_id: &'a str,
    pub(super) parent: Option<&'a str>,
    pub(super) sent_at: &'a str,
    pub(super) payload: &'a agentnet_proto::Payload,
}

impl Chat {
    /// What passed in the thread.
    pub(super) async fn pass_on(&mut self, socket: &mut Socket, body: &[u8]) -> Result<(), End> {
        let Ok(envelope) = Envelope::decode(body) else { return Ok(()) };
        if envelope.thread_id.as_deref() != Some(&self.session.session_id)
            || !self.is_new(&envelope.message_id)
        {
            return Ok(());
        }
        if envelope.kind == record::KIND {
            return self.pass_record(socket, &envelope).await;
        }
        let (Some(from), false) = (envelope.from_account_id.as_deref(), envelope.kind == kind::ERROR) else {
            return Ok(());
        };
        if self.session.agent(from).is_none() {
            return Ok(());
        }
        self.last_traffic = Instant::now();
        let said = Said {
            from,
            message_id: &envelope.message_id,
            parent: envelope.parent_message_id.as_deref(),
            sent_at: &envelope.sent_at,
            payload: &envelope.payload,
        };
        self.show(socket, &said).await
    }

    async fn pass_record(&mut self, socket: &mut Socket, envelope: &Envelope) -> Result<(), End> {
        if envelope.from_account_id.as_deref() != Some(self.seat().account.as_str()) {
            return Ok(());
        }
        match envelope.payload.parse() {
            Ok(Record::Ended { reason, .. }) => {
                self.say_own(socket, MessageType::System, Some("Session ended")).await?;
                Err(match reason.as_str() {
                    "expired" | "inactivity" => End::Say(close::EXPIRED, "the session has ended"),
                    _ => End::Say(close::NORMAL, "the session has ended"),
                })
            }
            Ok(Record::Paused { reason, .. }) => self.say_own(socket, MessageType::Stop, Some(&reason)).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn show(&mut self, socket: &mut Socket, said: &Said<'_>) -> Result<(), End> {
        let Some((_, agent)) = self.session.agent(said.from) else { return Ok(()) };
        let value = said.payload.value();
        let told = value.get("type").and_then(Value::as_str);
        let kind = match told {
            Some("cooldown") => MessageType::Cooldown,
            Some("info") => MessageType::Info,
            Some("stop") => MessageType::Stop,
            _ => MessageType::Response,
        };
        let mut metadata = match value.get("metadata") {
            Some(Value::Object(own)) => own.clone(),
            _ => Map::new(),
        };
        metadata.insert("role".to_owned(), json!("assistant"));
        metadata.insert("provider".to_owned(), json!(agent.provider));
        metadata.insert("model".to_owned(), json!(agent.model));
        metadata.insert("message_id".to_owned(), json!(said.message_id));
        if let Some(parent) = said.parent {
            metadata.insert("parent_message_id".to_owned(), json!(parent));
        }
        if self.session.session_type == SessionType::AgentAgent {
            metadata.insert("conversation_type".to_owned(), json!("agent_agent"));
            metadata.insert("original_type".to_owned(), json!(told.unwrap_or("text")));
        }
        let receiver = match self.session.session_type {
            SessionType::HumanAgent => self.seat().username.clone(),
            SessionType::AgentAgent => {
                self.session.other(said.from).map_or_else(String::new, |other| other.agent_id.clone())
            }
        };
        let frame = WebSocketMessage {
            kind,
            content: Some(said.payload.as_text().unwrap_or_else(|| said.payload.get().to_owned())),
            sender: Some(said.from.to_owned()),
            receiver: Some(receiver),
            timestamp: said.sent_at.to_owned(),
            metadata: Some(metadata),
        };
        self.last_speaker = Some(said.from.to_owned());
        socket.send(frame.to_text()).await
    }
}
