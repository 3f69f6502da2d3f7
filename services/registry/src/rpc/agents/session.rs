//! The session that stands for an agent over HTTP that takes tasks: workers are chosen among sessions online. It lives as long
//! as the agent is heard of, as all do, and takes no mail.

use agentnet_proto::rpc::AgentInfo;
use agentnet_proto::schema_version;
use agentnet_proto::task::TASKS_METADATA;
use agentnet_store::agents::Agent;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::events;
use crate::presence::TAKES_MAIL;

/// Types of agents that take tasks unless their metadata says otherwise.
const WORKERS: [&str; 6] = ["worker", "provider", "specialist", "inference", "training", "processing"];

/// The agent was heard of over HTTP.
pub(super) async fn heard(app: &App, agent: &Agent) {
    let Some(offer) = offer(agent) else { return };
    let mut metadata = Map::new();
    metadata.insert("via".to_owned(), json!("http"));
    metadata.insert(TAKES_MAIL.to_owned(), json!(false));
    metadata.insert(TASKS_METADATA.to_owned(), offer);
    metadata.insert("agent_type".to_owned(), json!(agent.agent_type));
    metadata.insert("services".to_owned(), json!(agent.services));
    metadata.insert("tags".to_owned(), json!(agent.tags));
    let info = AgentInfo {
        agent_id: agent.username.clone(),
        name: agent.username.clone(),
        capabilities: agent.capabilities.clone(),
        metadata,
        account_id: Some(agent.account_id.clone()),
        username: Some(agent.username.clone()),
        session_tag: Some(format!("http_{}", agent.account_id)),
        last_seen: None,
        schema_version: Some(schema_version::CURRENT.to_owned()),
    };
    events::announce_heard(app, info).await;
}

/// What it offers; nothing for one that doesn't take tasks, or isn't there for any.
fn offer(agent: &Agent) -> Option<Value> {
    if matches!(agent.status.as_str(), "inactive" | "stale") {
        return None;
    }
    match agent.metadata.get(TASKS_METADATA) {
        Some(said) => Some(said.clone()).filter(|said| *said != Value::Bool(false)),
        None => WORKERS.contains(&agent.agent_type.as_str()).then_some(Value::Bool(true)),
    }
}
