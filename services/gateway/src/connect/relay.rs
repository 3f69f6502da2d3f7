//! Asking agents: one for a person, or two in turn.
//!
//! Whatever is said goes through the session's thread; the sockets of the session, at every gateway, hear it there. What is
//! here only asks. Where two agents talk, one gateway passes on what they say, and tells the account's other sessions every few
//! seconds that it does. Falls it silent, any gateway with a socket of the session goes on from what stands in the thread
//! ([`resume`]): each answer is passed on under an id made from the answer's own, so that two gateways that both go on pass it
//! on once.

mod resume;

use std::{sync::Arc, time::Duration};

use agentnet::Reply;
use agentnet_proto::{Envelope, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) use resume::resume;

use super::record::{self, Record, Session, SessionAgent};
use crate::{app::App, http::Problem, seats::Seat};

/// The name under which the account's sessions are told that two agents are looked after.
pub(super) const TOLD: &str = "relay";
/// What an agent of the seed's says to end a conversation.
const EXIT: &str = "__EXIT__";
/// Why two agents stopped.
const MAX_TURNS: &str = "max_turns_reached";
/// Signs of life in the time after which a gateway counts as gone.
const BEATS: u32 = 4;

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

/// A sign of life of whoever has two agents talk.
#[derive(Debug, Serialize, Deserialize)]
struct Beat {
    relay_of: String,
}

/// Whether something that passed on the account's subjects says that a session's agents are looked after: a sign of life, or a
/// message of the session.
pub(super) fn is_of(session_id: &str, body: &[u8]) -> bool {
    match serde_json::from_slice::<Beat>(body) {
        Ok(beat) => beat.relay_of == session_id,
        Err(_) => {
            Envelope::decode(body).is_ok_and(|envelope| envelope.thread_id.as_deref() == Some(session_id))
        }
    }
}

/// Tells the account's sessions, until what is returned is dropped, that two agents are looked after.
fn beat(app: &App, seat: &Arc<Seat>, session: &Session) -> DropGuard {
    let stop = CancellationToken::new();
    let (seat, until, every) = (Arc::clone(seat), stop.clone(), app.config.sessions.relay_lease / BEATS);
    let body = serde_json::to_vec(&Beat { relay_of: session.session_id.clone() }).unwrap_or_default();
    app.streams.spawn(until.run_until_cancelled_owned(async move {
        loop {
            if let Err(error) = seat.node.tell(TOLD, body.clone()).await {
                tracing::debug!(%error, "a sign of life couldn't be given");
            }
            tokio::time::sleep(every).await;
        }
    }));
    stop.drop_guard()
}

/// What an agent said, and how often the two have spoken since a person did.
struct Turn {
    message_id: String,
    text: String,
    speaker: SessionAgent,
    spoken: u32,
}

impl Turn {
    fn of(reply: &Reply, speaker: SessionAgent, spoken: u32) -> Self {
        let text = reply.text().unwrap_or_else(|| reply.payload().get().to_owned());
        Self { message_id: reply.message_id().to_owned(), text, speaker, spoken }
    }
}

/// How two agents stopped, here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// For good.
    Over,
    /// Another gateway goes on.
    Elsewhere,
}

/// Has two agents talk: `first` hears `text`, and each answer goes to the other one, until the turns are used up, one of
/// them ends it, or the session has ended. When the gateway stops, others go on.
pub(super) async fn relay(
    app: App,
    seat: Arc<Seat>,
    session: Session,
    first: SessionAgent,
    text: String,
    metadata: Option<Map<String, Value>>,
) -> Result<(), Problem> {
    let _beat = beat(&app, &seat, &session);
    let talk = async {
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
        let reply = ask(&app, &seat, &session, question).await?;
        go_on(&app, &seat, &session, Turn::of(&reply, first.clone(), 1)).await
    };
    match app.closing.run_until_cancelled(talk).await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(problem)) => Err(broken_off(&app, &seat, &session, problem).await),
    }
}

/// Passes on what was said, and what is said then.
async fn go_on(app: &App, seat: &Seat, session: &Session, mut turn: Turn) -> Result<Stopped, Problem> {
    while turn.spoken < session.max_turns {
        if turn.text.contains(EXIT) {
            return Ok(Stopped::Over);
        }
        // Whoever ended it, at whichever gateway.
        if let Err(problem) = record::load(app, seat, &session.session_id).await {
            return if problem.status.is_server_error() { Err(problem) } else { Ok(Stopped::Over) };
        }
        let Some(other) = session.other(&turn.speaker.agent_id).cloned() else {
            return Err(Problem::new(ErrorCode::Internal, "the session has one agent only"));
        };
        let question = Question {
            to: &other,
            text: &turn.text,
            role: "assistant",
            from: &turn.speaker.name,
            metadata: None,
            parent: Some(&turn.message_id),
            message_id: Some(relayed_id(&turn.message_id)),
        };
        let reply = match ask(app, seat, session, question).await {
            Ok(reply) => reply,
            Err(problem) if was_passed_on(&problem) => return Ok(Stopped::Elsewhere),
            Err(problem) => return Err(problem),
        };
        turn = Turn::of(&reply, other, turn.spoken + 1);
    }
    pause(seat, session, MAX_TURNS).await?;
    Ok(Stopped::Over)
}

/// Whether another gateway has passed the answer on already.
fn was_passed_on(problem: &Problem) -> bool {
    [ErrorCode::MessageIdConflict, ErrorCode::Duplicate].iter().any(|code| problem.code == code.as_str())
}

/// Two agents talk no more: that stands in the thread, so that no gateway takes them over.
async fn broken_off(app: &App, seat: &Seat, session: &Session, problem: Problem) -> Problem {
    // What failed because this gateway goes is for another one.
    if !app.closing.is_cancelled()
        && let Err(error) = pause(seat, session, &problem.code).await
    {
        tracing::warn!(code = %error.code, session = session.session_id, "the end of a talk couldn't be written down");
    }
    problem
}

async fn pause(seat: &Seat, session: &Session, reason: &str) -> Result<(), Problem> {
    let record = Record::Paused { session_id: session.session_id.clone(), reason: reason.to_owned() };
    record::write(seat, &session.session_id, &record).await
}

/// The id of the message that passes an answer on: the same at every gateway, so that it is passed on once.
fn relayed_id(reply: &str) -> String {
    let hash = Sha256::digest(format!("relay {reply}"));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// How long a person waits before being told that it takes longer.
pub(super) const LONGER: Duration = Duration::from_secs(30);
