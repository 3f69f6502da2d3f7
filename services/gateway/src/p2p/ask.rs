//! Asking an agent, by the client crate's [`P2p`].

use std::time::Duration;

use agentnet::{P2p, P2pCall, Target};
use agentnet_proto::{Payload, rpc::BlobInfo};
use axum::http::{HeaderMap, Uri, header};
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
    let within = within.unwrap_or(app.config.sessions.p2p_within).min(MAX_WAIT);
    Ok(P2p::new(&seat.node).with_timeout(within).call(target(agent)?, call, content).await?)
}

/// The same with files of the network beside the content.
pub(super) async fn ask_with(
    app: &App,
    seat: &Seat,
    target: Target,
    content: &Value,
    files: Vec<(String, BlobInfo)>,
) -> Result<Payload, Problem> {
    let p2p = P2p::new(&seat.node).with_timeout(app.config.sessions.p2p_within);
    Ok(p2p.call_with_blobs(target, P2pCall::Api, content, files).await?)
}

/// Tells an agent, and waits for nothing but that the network keeps it.
pub(super) async fn tell(seat: &Seat, agent: &str, content: &Value) -> Result<String, Problem> {
    Ok(P2p::new(&seat.node).send(target(agent)?, content).await?)
}

/// The agent that a request means by its address: `?agent=`, the one that the gateway stands for, or the first label of the
/// host's name, as in `http://agent_123.local:6666`.
pub(super) fn meant(app: &App, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "agent");
    if let Some((_, agent)) = named.filter(|(_, agent)| !agent.is_empty()) {
        return Some(agent.into_owned());
    }
    app.config.sessions.p2p_agent.clone().or_else(|| {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        of_host(host.or_else(|| uri.authority().map(|authority| authority.as_str()))?)
    })
}

fn of_host(host: &str) -> Option<String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty() && !rest.is_empty()).then(|| label.to_owned())
}

/// Who an agent is: what is asked for is known before a file is taken.
pub(super) async fn known(seat: &Seat, agent: &str) -> Result<Target, Problem> {
    let target = target(agent)?;
    if let Target::Username(name) = &target {
        seat.node.resolve_username(name).await?;
    }
    Ok(target)
}

fn target(agent: &str) -> Result<Target, Problem> {
    Target::parse(agent).map_err(|error| Problem::field("to", error.detail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_agents() {
        assert_eq!(of_host("agent_123.local:6666").as_deref(), Some("agent_123"));
        assert_eq!(of_host("a.default.svc.cluster.local").as_deref(), Some("a"));
        for none in ["localhost:6666", "127.0.0.1:6666", "[::1]:6666", ".local", "a."] {
            assert_eq!(of_host(none), None, "{none}");
        }
    }
}
