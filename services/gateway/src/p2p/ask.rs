//! Asking an agent, by the client crate's [`P2p`].

use std::time::Duration;

use agentnet::{P2p, P2pCall, Target};
use agentnet_proto::Payload;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{app::App, http::Problem, seats::Seat};

/// Longest time that a client may wait for an answer.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What an agent answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct P2pAnswer {
    /// Always true; other answers are problems.
    pub(super) success: bool,
    /// What the agent answered.
    pub(super) data: Payload,
}

/// Asks an agent, by username, account id or `capability:<name>`, and waits for its answer.
pub(super) async fn ask(
    app: &App,
    seat: &Seat,
    agent: &str,
    call: P2pCall,
    content: &Value,
    within: Option<Duration>,
) -> Result<Payload, Problem> {
    let target = target(agent)?;
    let within = within.unwrap_or(app.config.sessions.p2p_within).min(MAX_WAIT);
    Ok(P2p::new(&seat.node).with_timeout(within).call(target, call, content).await?)
}

/// Tells an agent, and waits for nothing but that the network keeps it.
pub(super) async fn tell(seat: &Seat, agent: &str, content: &Value) -> Result<String, Problem> {
    Ok(P2p::new(&seat.node).send(target(agent)?, content).await?)
}

fn target(agent: &str) -> Result<Target, Problem> {
    Target::parse(agent).map_err(|error| Problem::field("to", error.detail()))
}
