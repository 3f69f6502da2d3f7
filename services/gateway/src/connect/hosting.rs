//! Agents that are started because a session wants them. Whoever starts them has the capability `hosting`; the protocol with
//! such an agent is one request and one message, told in `docs/HTTP.md`.

use agentnet::Stage;
use agentnet_proto::{
    ErrorCode, Timestamp,
    rpc::{AgentInfo, ListRequest},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Duration, Instant, sleep};

use super::{
    choose,
    record::{Session, SessionAgent},
    sessions::WantedAgent,
};
use crate::{app::App, http::Problem, seats::Seat};

/// What an agent that starts others can do.
const CAPABILITY: &str = "hosting";
/// Pause between two looks for an agent that was started.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the network tries to say that an agent isn't wanted any more.
const TTL: Duration = Duration::from_secs(3600);

/// What a host is told.
#[derive(Debug, Serialize)]
#[serde(tag = "hosting", rename_all = "snake_case")]
enum Wish<'a> {
    /// Start an agent, and reply once it is on the network.
    Start {
        session_id: &'a str,
        /// The account that wants it.
        owner: &'a str,
        /// The session's name for it.
        key: &'a str,
        provider: &'a str,
        model: Option<&'a str>,
        capabilities: &'a [String],
        personality: Option<&'a str>,
        metadata: Option<&'a Map<String, Value>>,
        /// When the session ends by itself, ISO 8601.
        until: Option<&'a str>,
    },
    /// The session has ended; the agent is wanted no more.
    Stop { session_id: &'a str, account_id: &'a str },
}

/// What a host replies.
#[derive(Debug, Deserialize)]
#[serde(tag = "hosting", rename_all = "snake_case")]
enum Done {
    /// The agent is on the network, or about to be.
    Started { account_id: String },
    /// It can't be started.
    Refused {
        #[serde(default)]
        detail: String,
    },
}

/// Whom an agent is wanted for.
pub(super) struct For<'a> {
    pub(super) session_id: &'a str,
    pub(super) key: &'a str,
    pub(super) until: Option<Timestamp>,
}

/// Has an agent started that fits, when there is somebody who starts agents; `none` says otherwise what is missing.
pub(super) async fn start(
    app: &App,
    seat: &Seat,
    online: &[AgentInfo],
    whom: &For<'_>,
    wanted: &WantedAgent,
    none: Problem,
) -> Result<SessionAgent, Problem> {
    if none.code != ErrorCode::NoAgentAvailable.as_str()
        || !online.iter().any(|agent| agent.capabilities.iter().any(|name| name == CAPABILITY))
    {
        return Err(none);
    }
    let within = app.config.sessions.hosting_within;
    let deadline = Instant::now() + within;
    let missing = |what: &str| {
        let detail = format!("{}; an agent that starts others was asked, and {what}", none.detail);
        Problem::new(ErrorCode::NoAgentAvailable, detail)
    };
    let until = whom.until.map(|time| time.to_string());
    let wish = Wish::Start {
        session_id: whom.session_id,
        owner: seat.account.as_str(),
        key: whom.key,
        provider: &wanted.provider,
        model: wanted.model.as_deref(),
        capabilities: wanted.capabilities.as_deref().unwrap_or_default(),
        personality: wanted.personality.as_deref(),
        metadata: wanted.metadata.as_ref(),
        until: until.as_deref(),
    };
    let reply = match seat.node.request_capability(CAPABILITY, &wish).timeout(within).await {
        Ok(reply) => reply,
        Err(error) => return Err(missing(&format!("didn't answer ({})", error.code()))),
    };
    let Some(host) = reply.from_account().map(str::to_owned) else {
        return Err(missing("didn't say who it is"));
    };
    let account_id = match reply.json::<Done>() {
        Ok(Done::Started { account_id }) => account_id,
        Ok(Done::Refused { detail }) => return Err(missing(&format!("refused: {detail}"))),
        Err(_) => return Err(missing("answered something else")),
    };
    // Its own word isn't enough: it must be there, and be what was asked for.
    loop {
        let request = ListRequest { account_id: Some(account_id.clone()), ..ListRequest::default() };
        let there = seat.node.registry().list(&request).await?.agents;
        match choose::choose(&there, whom.key, wanted, &[]) {
            Ok(agent) => return Ok(SessionAgent { hosted_by: Some(host), ..agent }),
            Err(_) if Instant::now() + LOOK_EVERY < deadline => sleep(LOOK_EVERY).await,
            Err(_) => {
                stop(seat, whom.session_id, &host, &account_id).await;
                let what = if there.is_empty() {
                    "the agent didn't come online"
                } else {
                    "the agent isn't like that"
                };
                return Err(missing(what));
            }
        }
    }
}

/// Says that a session's agents are wanted no more, those that were started for it.
pub(super) async fn release(seat: &Seat, session: &Session) {
    release_all(seat, &session.session_id, session.agents.values()).await;
}

/// The same before there is a session.
pub(super) async fn release_all(
    seat: &Seat,
    session_id: &str,
    agents: impl IntoIterator<Item = &SessionAgent>,
) {
    for agent in agents {
        if let Some(host) = &agent.hosted_by {
            stop(seat, session_id, host, &agent.agent_id).await;
        }
    }
}

/// The agent has a time anyway; so what fails here is only noted.
async fn stop(seat: &Seat, session_id: &str, host: &str, account_id: &str) {
    let wish = Wish::Stop { session_id, account_id };
    let sent = seat.node.send_to_account(host, &wish).ttl(TTL).until(Stage::Stored).await;
    if let Err(error) = sent {
        tracing::warn!(%error, host, account_id, "an agent's host couldn't be told that its session ended");
    }
}
