//! A message from an agent of the account's to another one.

use agentnet::Target;
use agentnet_proto::ErrorCode;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{choose, frame::MessageType, registered};
use crate::{
    app::App,
    caller::Known,
    http::{Body, Parts, Problem},
    rates::Class,
};

/// A message to an agent.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AgentMessageRequest {
    /// Whom it is for: an account, a username, or an agent that the account registered.
    receiver_id: String,
    /// The text.
    content: String,
    /// What it is.
    message_type: MessageType,
    /// Data beside the text.
    #[serde(default)]
    structured_data: Option<Map<String, Value>>,
    /// More about it.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

/// A message that was sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentMessageResponse {
    /// Always `sent`: the network holds it for good.
    status: &'static str,
    /// The message.
    message_id: String,
    /// Who it is from, as asked.
    sender: String,
    /// The account it went to.
    receiver: String,
    /// When, ISO 8601.
    timestamp: String,
}

/// Send a message to an agent, as one of the account's own
///
/// The envelope's sender is the account; the payload names the agent.
#[utoipa::path(post, path = "/api/agents/{agent_id}/message", tag = "agent-connect",
    params(("agent_id" = String, Path, description = "The sender: an agent that the account registered, or the account itself.")),
    request_body = ref("#/components/schemas/AgentMessageRequest"),
    responses((status = 200, body = ref("#/components/schemas/AgentMessageResponse"))))]
pub(crate) async fn say(
    State(app): State<App>,
    Known { caller, .. }: Known,
    Parts(agent_id): Parts<String>,
    Body(message): Body<AgentMessageRequest>,
) -> Result<Json<AgentMessageResponse>, Problem> {
    caller.pass(&app, Class::Agent)?;
    let seat = &caller.seat;
    let own = registered::all(seat).await?;
    let is_self = agent_id == seat.account.as_str() || agent_id == seat.username;
    if !is_self && !own.contains_key(&agent_id) {
        let detail = "Agent not found among those the account registered: one may only send as those";
        return Err(Problem::new(ErrorCode::Forbidden, detail));
    }
    if message.content.is_empty() {
        return Err(Problem::field("content", "the field is required"));
    }
    let receiver = match own.get(&message.receiver_id) {
        Some(own) => {
            let online = choose::online(seat).await?;
            choose::choose(&online, &own.agent_id, &own.agent.wanted(), &[])?.agent_id
        }
        None => match Target::parse(&message.receiver_id) {
            Ok(Target::Account(id)) => {
                let request =
                    agentnet_proto::rpc::ProfileRequest { account_id: Some(id.to_string()), username: None };
                seat.node.registry().profile(&request).await?.account_id
            }
            Ok(Target::Username(name)) => seat.node.resolve_username(&name).await?.to_string(),
            _ => return Err(Problem::field("receiver_id", "an account, a username or a registered agent")),
        },
    };
    let payload = json!({
        "text": message.content,
        "type": message.message_type,
        "sender": agent_id,
        "structured_data": message.structured_data,
        "metadata": message.metadata,
    });
    let sent = seat
        .node
        .send_to_account(&receiver, payload)
        .thread(format!("agents:{}:{receiver}", seat.account))
        .await?;
    Ok(Json(AgentMessageResponse {
        status: "sent",
        message_id: sent.message_id,
        sender: agent_id,
        receiver,
        timestamp: app.now(),
    }))
}
