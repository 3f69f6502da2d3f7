//! Sessions: made, asked for, ended.

use std::collections::BTreeMap;

use agentnet_proto::{ErrorCode, Timestamp};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    choose, hosting,
    record::{self, Record, Session, SessionAgent, SessionType},
};
use crate::{
    app::App,
    caller::Known,
    http::{Body, Parts, Problem},
    rates::Class,
    seats::Seat,
};

/// Under which key the seed's clients look for the agent of a person's session.
const ALIAS: &str = "ai_agent";
/// Longest text that describes something.
const MAX_TEXT: usize = 4096;

/// A session to make.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateSessionRequest {
    /// Who talks with whom.
    session_type: SessionType,
    /// The agents wanted, by keys of the client's choice: one for `human_agent`, two for `agent_agent`.
    agents: BTreeMap<String, WantedAgent>,
    /// How they may talk.
    #[serde(default)]
    interaction_modes: Option<Vec<String>>,
    /// Kept with the session. `max_turns` says how often two agents may speak before they stop.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

/// An agent that is wanted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct WantedAgent {
    /// What provides its model.
    pub(super) provider: String,
    /// Its model; any unless given.
    #[serde(default)]
    pub(super) model: Option<String>,
    /// What it must be able to do.
    #[serde(default)]
    pub(super) capabilities: Option<Vec<String>>,
    /// How it is to behave; it is told with every message.
    #[serde(default)]
    pub(super) personality: Option<String>,
    /// Not used to choose; whoever starts such an agent is told.
    #[serde(default)]
    pub(super) metadata: Option<Map<String, Value>>,
}

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SessionResponse {
    /// The session, which is a thread.
    session_id: String,
    /// Always `system`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// When it was made, ISO 8601.
    created_at: String,
    /// Always `active`: others aren't found.
    status: &'static str,
    /// Who talks with whom.
    session_type: SessionType,
    /// Its agents by the keys of the request; the one of `human_agent` also as `ai_agent`.
    agents: BTreeMap<String, SessionAgent>,
    /// As given.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
    /// When it ends by itself, ISO 8601.
    expires_at: Option<String>,
}

impl SessionResponse {
    fn of(app: &App, session: Session) -> Self {
        let expires_at = session.expires(app).map(|end| end.to_string());
        let mut agents = session.agents;
        if session.session_type == SessionType::HumanAgent
            && let Some(agent) = agents.values().next().cloned()
        {
            agents.entry(ALIAS.to_owned()).or_insert(agent);
        }
        Self {
            session_id: session.session_id,
            kind: "system",
            created_at: session.created_at,
            status: "active",
            session_type: session.session_type,
            agents,
            metadata: session.metadata,
            expires_at,
        }
    }
}

/// A session that has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeleteSessionResponse {
    /// Always `success`.
    status: &'static str,
    /// The same for people.
    message: &'static str,
}

/// Make a session
///
/// Its agents are chosen among those online, by what they tell about themselves. Where none fits, an agent with the capability
/// `hosting` is asked to start one; where there is none either, the answer is 503 and says what was asked for.
#[utoipa::path(post, path = "/api/chat/sessions/create", tag = "agent-connect",
    request_body = ref("#/components/schemas/CreateSessionRequest"),
    responses((status = 200, body = ref("#/components/schemas/SessionResponse"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Body(wanted): Body<CreateSessionRequest>,
) -> Result<Json<SessionResponse>, Problem> {
    caller.pass(&app, Class::Create)?;
    let max_turns = check(&app, &wanted)?;
    let seat = &caller.seat;
    if record::count_active(&app, seat).await? >= app.config.sessions.per_user {
        let detail =
            format!("the account has {} sessions already; end one first", app.config.sessions.per_user);
        // Until the account has ended one, or one ends by itself.
        let wait = Some(std::time::Duration::from_secs(60));
        return Err(Problem { retry_after: wait, ..Problem::new(ErrorCode::SessionsFull, detail) });
    }
    let now = app.config.clock.now();
    let session_id = format!("session_{}_{}", compact(&now.to_string()), random(&app));
    let until = now.saturating_add(app.config.sessions.ttl);
    let agents = find(&app, seat, &session_id, until, &wanted.agents).await?;
    let session = Session {
        session_id,
        owner: seat.account.to_string(),
        session_type: wanted.session_type,
        created_at: now.to_string(),
        agents,
        interaction_modes: wanted.interaction_modes,
        metadata: wanted.metadata,
        max_turns,
    };
    let record = Record::Active { session: session.clone() };
    if let Err(problem) = record::write(seat, &session.session_id, &record).await {
        hosting::release(seat, &session).await;
        return Err(problem);
    }
    Ok(Json(SessionResponse::of(&app, session)))
}

/// The agents of a session to be: those online that fit, or those that somebody starts.
async fn find(
    app: &App,
    seat: &Seat,
    session_id: &str,
    until: Timestamp,
    wanted: &BTreeMap<String, WantedAgent>,
) -> Result<BTreeMap<String, SessionAgent>, Problem> {
    let online = choose::online(seat).await?;
    let mut chosen = Vec::new();
    let mut agents = BTreeMap::new();
    for (key, wanted) in wanted {
        let found = match choose::choose(&online, key, wanted, &chosen) {
            Ok(agent) => Ok(agent),
            Err(none) => {
                let whom = hosting::For { session_id, key, until: Some(until) };
                hosting::start(app, seat, &online, &whom, wanted, none).await
            }
        };
        match found {
            Ok(agent) => {
                chosen.push(agent.clone());
                agents.insert(key.clone(), agent);
            }
            Err(problem) => {
                hosting::release_all(seat, session_id, &chosen).await;
                return Err(problem);
            }
        }
    }
    Ok(agents)
}

/// How often two agents may speak.
fn check(app: &App, wanted: &CreateSessionRequest) -> Result<u32, Problem> {
    let (expected, what) = match wanted.session_type {
        SessionType::HumanAgent => (1, "human_agent takes exactly one agent"),
        SessionType::AgentAgent => (2, "agent_agent takes exactly two agents"),
    };
    if wanted.agents.len() != expected {
        return Err(Problem::field("agents", what));
    }
    for (key, agent) in &wanted.agents {
        if key.is_empty() || key.len() > 64 {
            return Err(Problem::field("agents", "a key has 1 to 64 characters"));
        }
        if agent.provider.trim().is_empty() {
            return Err(Problem::field(format!("agents.{key}.provider"), "the field is required"));
        }
        if agent.personality.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(Problem::field(format!("agents.{key}.personality"), "at most 4096 bytes"));
        }
    }
    let turns = wanted.metadata.as_ref().and_then(|metadata| metadata.get("max_turns"));
    match turns {
        None => Ok(app.config.sessions.max_turns),
        Some(turns) => turns
            .as_u64()
            .and_then(|turns| u32::try_from(turns).ok())
            .filter(|turns| (1..=1000).contains(turns))
            .ok_or_else(|| Problem::field("metadata.max_turns", "a whole number from 1 to 1000")),
    }
}

/// `20260221080000` of an ISO 8601 time.
fn compact(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).take(14).collect()
}

fn random(app: &App) -> String {
    app.ids.nonce().chars().take(8).collect()
}

/// A session
#[utoipa::path(get, path = "/api/chat/sessions/{session_id}", tag = "agent-connect",
    params(("session_id" = String, Path, description = "The session.")),
    responses((status = 200, body = ref("#/components/schemas/SessionResponse"))))]
pub(crate) async fn get(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(session_id): Parts<String>,
) -> Result<Json<SessionResponse>, Problem> {
    caller.pass(&app, Class::Query)?;
    let session = record::load(&app, &caller.seat, &session_id).await?;
    Ok(Json(SessionResponse::of(&app, session)))
}

/// End a session
///
/// Its sockets are closed, at every gateway.
#[utoipa::path(delete, path = "/api/chat/sessions/{session_id}", tag = "agent-connect",
    params(("session_id" = String, Path, description = "The session.")),
    responses((status = 200, body = ref("#/components/schemas/DeleteSessionResponse"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(session_id): Parts<String>,
) -> Result<Json<DeleteSessionResponse>, Problem> {
    caller.pass(&app, Class::Create)?;
    let session = record::load(&app, &caller.seat, &session_id).await?;
    let record = Record::Ended { session_id: session_id.clone(), reason: "deleted".to_owned() };
    record::write(&caller.seat, &session_id, &record).await?;
    hosting::release(&caller.seat, &session).await;
    Ok(Json(DeleteSessionResponse { status: "success", message: "Session ended" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_ids() {
        assert_eq!(compact("2026-02-21T08:00:01.123456Z"), "20260221080001");
    }
}
