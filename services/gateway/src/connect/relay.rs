//! Asking agents: one for a person, or two in turn.
//!
//! Whatever is said goes through the session's thread; the sockets of the session, at every gateway, hear it there. What is
//! here only asks.

use std::time::Duration;

use agentnet::Reply;
use agentnet_proto::ErrorCode;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::record::{self, Record, Session, SessionAgent};
use crate::{app::App, http::Problem, seats::Seat};

/// What an agent of the seed's says to end a conversation.
const EXIT: &str = "__EXIT__";
/// Why two agents stopped.
const MAX_TURNS: &str = "max_turns_reached";

/// A question to an agent of a session.
pub(super) struct Question<'a> {
    pub(super) to: &'a SessionAgent,
    pub(super) text: &'a str,
    /// The role and, between agents, the name of who says it.
    pub(super) role: &'static str,
    pub(super) from: &'a str,
    pub(super) metadata: Option<&'a Map<String, Value>>,
    pub(super) parent: Option<&'a str>,
    pub(super) message_id: Option<String>,
}

/// Asks, and waits for the answer as long as the configuration says.
pub(super) async fn ask(
    app: &App,
    seat: &Seat,
    session: &Session,
    question: Question<'_>,
) -> Result<Reply, Problem> {
    let payload = json!({
        "text": question.text,
        "session_id": session.session_id,
        "role": question.role,
        "from": question.from,
        "personality": question.to.personality,
        "metadata": question.metadata,
    });
    let mut request = seat
        .node
        .request_account(&question.to.agent_id, payload)
        .thread(&session.session_id)
        .timeout(app.config.sessions.answer_within);
    if let Some(parent) = question.parent {
        request = request.parent(parent);
    }
    if let Some(id) = question.message_id {
        request = request.message_id(id);
    }
    Ok(request.await?)
}

/// Has two agents talk: `first` hears `text`, and each answer goes to the other one, until the turns are used up, one of
/// them ends it, or the session has ended.
pub(super) async fn relay(
    app: App,
    seat: std::sync::Arc<Seat>,
    session: Session,
    first: SessionAgent,
    text: String,
    metadata: Option<Map<String, Value>>,
) -> Result<(), Problem> {
    let username = seat.username.clone();
    let question = Question {
        to: &first,
        text: &text,
        role: "user",
        from: &username,
        metadata: metadata.as_ref(),
        parent: None,
        message_id: None,
    };
    let mut reply = ask(&app, &seat, &session, question).await?;
    let mut speaker = first;
    for _ in 1..session.max_turns {
        let said = text_of(&reply);
        if said.contains(EXIT) {
            return Ok(());
        }
        // Whoever ended it, at whichever gateway.
        if let Err(problem) = record::load(&app, &seat, &session.session_id).await {
            return if problem.status.is_server_error() { Err(problem) } else { Ok(()) };
        }
        let Some(other) = session.other(&speaker.agent_id).cloned() else {
            return Err(Problem::new(ErrorCode::Internal, "the session has one agent only"));
        };
        let question = Question {
            to: &other,
            text: &said,
            role: "assistant",
            from: &speaker.name,
            metadata: None,
            parent: Some(reply.message_id()),
            message_id: Some(relayed_id(reply.message_id())),
        };
        reply = ask(&app, &seat, &session, question).await?;
        speaker = other;
    }
    let record = Record::Paused { session_id: session.session_id.clone(), reason: MAX_TURNS.to_owned() };
    record::write(&seat, &session.session_id, &record).await
}

fn text_of(reply: &Reply) -> String {
    reply.text().unwrap_or_else(|| reply.payload().get().to_owned())
}

/// The id of the message that passes an answer on: the same at every gateway, so that it is passed on once.
fn relayed_id(reply: &str) -> String {
    let hash = Sha256::digest(format!("relay {reply}"));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// How long a person waits before being told that it takes longer.
pub(super) const LONGER: Duration = Duration::from_secs(30);
