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
/// Messages of the kind that are looked at: the first, turns that were used up, the end.
const LOOKED_AT: i64 = 50;

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
    match find(seat, session_id).await? {
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

async fn find(seat: &Seat, session_id: &str) -> Result<Found, Problem> {
    let request = rpc::MessageSearchRequest {
        thread_id: Some(session_id.to_owned()),
        kind: Some(KIND.to_owned()),
        limit: Some(LOOKED_AT),
        ..rpc::MessageSearchRequest::default()
    };
    let rows = seat.node.registry().message_search(&request).await?.messages;
    let mut found = Found { session: None, ended: false, others: false };
    for row in rows {
        if row.from_account_id.as_deref() != Some(seat.account.as_str()) {
            found.others = true;
            continue;
        }
        match row.payload.parse() {
            Ok(Record::Active { session }) if session.session_id == session_id => {
                found.session = Some(session)
            }
            Ok(Record::Ended { .. }) => found.ended = true,
            _ => {}
        }
    }
    Ok(found)
}

/// How many sessions of the account go on.
pub(super) async fn count_active(app: &App, seat: &Seat) -> Result<usize, Problem> {
    let since = app.config.clock.now().saturating_sub(app.config.sessions.ttl);
    let request = rpc::MessageSearchRequest {
        from_account_id: Some(seat.account.to_string()),
        kind: Some(KIND.to_owned()),
        from_ts: Some(since.to_string()),
        limit: Some(200),
        ..rpc::MessageSearchRequest::default()
    };
    let rows = seat.node.registry().message_search(&request).await?.messages;
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for row in rows {
        match row.payload.parse() {
            Ok(Record::Active { session }) => begun.push(session.session_id),
            Ok(Record::Ended { session_id, .. }) => ended.push(session_id),
            _ => {}
        }
    }
    Ok(begun.iter().filter(|id| !ended.contains(id)).count())
}
