//! What a session is, as it stands in its thread.

use std::{collections::BTreeMap, time::Duration};

use agentnet::Stage;
use agentnet_proto::{ErrorCode, Timestamp, rpc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{app::App, http::Problem, seats::Seat};

/// Kind of the messages that say what a session is.
pub(super) const KIND: &str = "session";
/// How long the network tries to bring such a message to its own sender, who is the one that is online.
const TTL: Duration = Duration::from_secs(60);
/// Most turns of two agents.
pub(super) const MAX_TURNS: u32 = 1000;
/// Pages of records that are read.
const MAX_PAGES: usize = 20;

/// The two kinds of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionType {
    /// A person and an agent.
    HumanAgent,
    /// Two agents, watched by a person.
    AgentAgent,
}

/// An agent of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct SessionAgent {
    /// Its account.
    pub(crate) agent_id: String,
    /// Its username.
    pub(crate) name: String,
    /// What provides its model.
    pub(crate) provider: String,
    /// Its model.
    pub(crate) model: String,
    /// What it can do.
    pub(crate) capabilities: Vec<String>,
    /// How it is to behave; it is told with every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<String>,
    /// Always `active`: it was online when it was chosen.
    pub(crate) status: String,
    /// The account that started it for this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hosted_by: Option<String>,
}

/// What a session is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) session_id: String,
    pub(super) owner: String,
    pub(super) session_type: SessionType,
    pub(super) created_at: String,
    pub(super) agents: BTreeMap<String, SessionAgent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interaction_modes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) max_turns: u32,
}

/// The payload of a message of the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Record {
    /// The session began.
    Active { session: Session },
    /// Two agents talk no more: their turns are used up, or one didn't answer.
    Paused { session_id: String, reason: String },
    /// The session ended.
    Ended { session_id: String, reason: String },
}

impl Session {
    /// The agent that messages of the account come from.
    pub(super) fn agent(&self, account_id: &str) -> Option<(&str, &SessionAgent)> {
        self.agents
            .iter()
            .find(|(_, agent)| agent.agent_id == account_id)
            .map(|(key, agent)| (key.as_str(), agent))
    }

    /// The agent that a client names by key, account or username.
    pub(super) fn named(&self, name: &str) -> Option<&SessionAgent> {
        self.agents
            .get(name)
            .or_else(|| self.agents.values().find(|agent| agent.agent_id == name || agent.name == name))
    }

    /// The agent that isn't this one.
    pub(super) fn other(&self, account_id: &str) -> Option<&SessionAgent> {
        self.agents.values().find(|agent| agent.agent_id != account_id)
    }

    /// When the session ends by itself.
    pub(super) fn expires(&self, app: &App) -> Option<Timestamp> {
        Some(Timestamp::parse(&self.created_at)?.saturating_add(app.config.sessions.ttl))
    }

    pub(super) fn is_expired(&self, app: &App) -> bool {
        self.expires(app).is_none_or(|end| end <= app.config.clock.now())
    }
}

/// Writes a record; it is stored when this returns.
pub(super) async fn write(seat: &Seat, session_id: &str, record: &Record) -> Result<(), Problem> {
    seat.node.send(&seat.account, record).thread(session_id).kind(KIND).ttl(TTL).until(Stage::Stored).await?;
    Ok(())
}

/// A session of the caller's that goes on.
///
/// # Errors
/// 404 when there is none, or it ended; 403 when it is another one's, as far as the caller may know.
pub(super) async fn load(app: &App, seat: &Seat, session_id: &str) -> Result<Session, Problem> {
    match find(app, seat, session_id).await? {
        Found { session: Some(session), ended: false, .. } if !session.is_expired(app) => Ok(session),
        Found { session: Some(_), .. } => {
            Err(Problem::new(ErrorCode::SessionEnded, "Session not found: it has ended"))
        }
        Found { others: true, .. } => {
            Err(Problem::new(ErrorCode::Forbidden, "this session is another account's"))
        }
        Found { .. } => Err(Problem::new(ErrorCode::NotFound, "Session not found")),
    }
}

/// What the network says about a session.
struct Found {
    session: Option<Session>,
    ended: bool,
    others: bool,
}

/// What the owner wrote about the session, whatever others wrote into its thread. The owner may write anything, so what it
/// says is held to the limits.
async fn find(app: &App, seat: &Seat, session_id: &str) -> Result<Found, Problem> {
    let mut found = Found { session: None, ended: false, others: false };
    let own = records(seat, Some(session_id), None).await?;
    for row in own {
        match row.payload.parse() {
            Ok(Record::Active { session }) if is_sound(&session, seat, session_id) => {
                found.session = Some(bounded(session, &row.received_at));
            }
            Ok(Record::Ended { .. }) => found.ended = true,
            _ => {}
        }
    }
    if found.session.is_none() {
        found.others = is_anothers(seat, session_id).await?;
    } else if !found.ended {
        found.ended = is_forgotten(app, seat, session_id).await?;
    }
    Ok(found)
}

fn is_sound(session: &Session, seat: &Seat, session_id: &str) -> bool {
    let agents = match session.session_type {
        SessionType::HumanAgent => 1,
        SessionType::AgentAgent => 2,
    };
    session.session_id == session_id
        && session.owner == seat.account.as_str()
        && session.agents.len() == agents
}

fn bounded(mut session: Session, received_at: &str) -> Session {
    session.max_turns = session.max_turns.min(MAX_TURNS);
    let (said, received) = (Timestamp::parse(&session.created_at), Timestamp::parse(received_at));
    if let Some(received) = received
        && said.is_none_or(|said| said > received)
    {
        session.created_at = received_at.to_owned();
    }
    session
}

/// The account's own records, latest first.
async fn records(
    seat: &Seat,
    session_id: Option<&str>,
    since: Option<Timestamp>,
) -> Result<Vec<rpc::MessageRow>, Problem> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let request = rpc::MessageSearchRequest {
            thread_id: session_id.map(str::to_owned),
            from_account_id: Some(seat.account.to_string()),
            kind: Some(KIND.to_owned()),
            from_ts: since.map(|since| since.to_string()),
            limit: Some(200),
            cursor,
            ..rpc::MessageSearchRequest::default()
        };
        let page = seat.node.registry().message_search(&request).await?;
        rows.extend(page.messages);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(rows)
}

async fn is_anothers(seat: &Seat, session_id: &str) -> Result<bool, Problem> {
    let request = rpc::MessageSearchRequest {
        thread_id: Some(session_id.to_owned()),
        kind: Some(KIND.to_owned()),
        limit: Some(1),
        ..rpc::MessageSearchRequest::default()
    };
    Ok(!seat.node.registry().message_search(&request).await?.messages.is_empty())
}

/// Whether nothing was said for so long that the session is over, be a socket open or not.
async fn is_forgotten(app: &App, seat: &Seat, session_id: &str) -> Result<bool, Problem> {
    let request = rpc::ThreadMessagesRequest {
        thread_id: session_id.to_owned(),
        limit: Some(1),
        ..rpc::ThreadMessagesRequest::default()
    };
    let latest = seat.node.registry().thread_messages(&request).await?.messages;
    let said_at = latest.first().and_then(|row| Timestamp::parse(&row.received_at));
    Ok(said_at.is_some_and(|at| at.saturating_add(app.config.sessions.inactivity) <= app.config.clock.now()))
}

/// How many sessions of the account go on.
pub(super) async fn count_active(app: &App, seat: &Seat) -> Result<usize, Problem> {
    let since = app.config.clock.now().saturating_sub(app.config.sessions.ttl);
    let rows = records(seat, None, Some(since)).await?;
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for row in rows {
        match row.payload.parse() {
            Ok(Record::Active { session }) => begun.push(session.session_id),
            Ok(Record::Ended { session_id, .. }) => ended.push(session_id),
            _ => {}
        }
    }
    begun.retain(|id| !ended.contains(id));
    if begun.len() < app.config.sessions.per_user {
        return Ok(begun.len());
    }
    let mut active = 0;
    for id in &begun {
        active += usize::from(!is_forgotten(app, seat, id).await?);
    }
    Ok(active)
}
