//! Messages: to one agent, to all that match, and what was sent.

use std::time::Duration;

use agentnet::{AgentNode, Target};
use agentnet_proto::{Payload, Priority, rpc};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answers::{invalid, refused};
use crate::{
    app::App,
    caller::Caller,
    http::{Body, Parts, Problem, Query},
    rates::Class,
};

/// A message to one agent.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SendBody {
    /// The receiver: its id, username or account id.
    receiver_id: String,
    /// `direct`, `broadcast`, `hierarchical`, `peer_to_peer`, `coordination`, `task_assignment`, `status_update`,
    /// `discovery`, `heartbeat` or `consensus`.
    message_type: String,
    /// The content.
    payload: Payload,
    /// `low`, `normal`, `high` or `critical`; `normal` unless given.
    #[serde(default)]
    priority: Option<String>,
    /// `hierarchical`, `peer_to_peer` or `broadcast`; `hierarchical` unless given.
    #[serde(default)]
    protocol: Option<String>,
    /// Its id; made unless given. Sent again under the same id it is the same message.
    #[serde(default)]
    message_id: Option<String>,
    /// How long the network keeps trying, in milliseconds; a day unless given, at most 30 days.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_592_000_000_u64))]
    ttl_ms: Option<u64>,
}

/// A message that is stored.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sent {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: &'static str,
    /// Its id.
    message_id: String,
    /// The receiver.
    receiver_id: String,
    /// Under which it was sent.
    protocol: String,
    /// When, ISO 8601.
    sent_at: String,
}

/// Send a message to an agent, whether it is online or not
///
/// The sender is the caller's account. The answer comes once the message is stored for good.
#[utoipa::path(post, path = "/messages/send", tag = "coordinator",
    request_body = ref("#/components/schemas/SendBody"),
    responses((status = 200, body = ref("#/components/schemas/Sent"))))]
pub(crate) async fn send(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<SendBody>,
) -> Result<Json<Sent>, Problem> {
    caller.pass(&app, Class::Message)?;
    let protocol = body.protocol.unwrap_or_else(|| "hierarchical".to_owned());
    if !rpc::PROTOCOLS.contains(&protocol.as_str()) {
        let detail = format!("Invalid protocol: {protocol}. Valid protocols: {}", rpc::PROTOCOLS.join(", "));
        return Err(Problem::new(agentnet_proto::ErrorCode::InvalidField, detail));
    }
    let priority = priority(body.priority.as_deref())?;
    let ttl = ttl(body.ttl_ms)?;
    message_type(&body.message_type)?;
    let node = &caller.seat.node;
    let route = rpc::MessageRouteRequest {
        account_id: Some(caller.seat.account.to_string()),
        receiver: body.receiver_id,
        protocol: protocol.clone(),
    };
    let route = node.registry().call::<rpc::MessageRoute>(&route).await.map_err(refused)?;
    let to = Target::account(&route.receiver_account_id)?;
    let mut message = node
        .send(to, body.payload)
        .kind(body.message_type)
        .priority(priority)
        .protocol(protocol.clone())
        .until(agentnet::Stage::Stored);
    if let Some(ttl) = ttl {
        message = message.ttl(ttl);
    }
    if let Some(id) = body.message_id {
        message = message.message_id(id);
    }
    let sent = message.await?;
    Ok(Json(Sent {
        status: "success",
        message: "Message sent successfully",
        message_id: sent.message_id,
        receiver_id: route.receiver_id,
        protocol,
        sent_at: app.now(),
    }))
}

/// A message to all agents that match.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct BroadcastBody {
    /// As for one agent.
    message_type: String,
    /// The content.
    payload: Payload,
    /// As for one agent.
    #[serde(default)]
    priority: Option<String>,
    /// Only to agents of this type.
    #[serde(default)]
    agent_type: Option<String>,
    /// Only to those that can do all of this.
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    /// Only to those that offer all of this.
    #[serde(default)]
    services: Option<Vec<String>>,
    /// Only to those with all of these tags.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// Only to those of this status; to all, offline ones included, unless given.
    #[serde(default)]
    status: Option<String>,
    /// As for one agent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_592_000_000_u64))]
    ttl_ms: Option<u64>,
}

/// A broadcast that is stored for all its receivers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BroadcastSent {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: String,
    /// To whom.
    recipients: Vec<String>,
    /// To how many.
    count: usize,
    /// Its ids: one for each thousand receivers.
    message_ids: Vec<String>,
    /// When, ISO 8601.
    broadcast_at: String,
}

/// Send a message to all agents that match
///
/// One message, one delivery for each receiver, whether it is online or not.
#[utoipa::path(post, path = "/messages/broadcast", tag = "coordinator",
    request_body = ref("#/components/schemas/BroadcastBody"),
    responses((status = 200, body = ref("#/components/schemas/BroadcastSent"))))]
pub(crate) async fn broadcast(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BroadcastBody>,
) -> Result<Json<BroadcastSent>, Problem> {
    caller.pass(&app, Class::Message)?;
    let priority = priority(body.priority.as_deref())?;
    let ttl = ttl(body.ttl_ms)?;
    message_type(&body.message_type)?;
    let node = caller.seat.node.clone();
    let mut open = rpc::BroadcastOpenRequest {
        account_id: Some(caller.seat.account.to_string()),
        agent_type: body.agent_type,
        capabilities: body.capabilities.unwrap_or_default(),
        services: body.services.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
        status: body.status,
        after: None,
    };
    let (mut recipients, mut message_ids) = (Vec::new(), Vec::new());
    loop {
        let answer = node.registry().call::<rpc::BroadcastOpen>(&open).await.map_err(refused)?;
        let Some(thread_id) = answer.thread_id else { break };
        let mut message = node
            .send(Target::thread(&thread_id)?, body.payload.clone())
            .kind(body.message_type.clone())
            .priority(priority)
            .protocol("broadcast")
            .until(agentnet::Stage::Stored);
        if let Some(ttl) = ttl {
            message = message.ttl(ttl);
        }
        message_ids.push(message.await?.message_id);
        recipients.extend(answer.recipients);
        close(&app, &node, thread_id);
        match answer.next {
            Some(next) => open.after = Some(next),
            None => break,
        }
    }
    let count = recipients.len();
    let message = match count {
        0 => "No matching agents found".to_owned(),
        _ => format!("Broadcast sent to {count} agents"),
    };
    Ok(Json(BroadcastSent {
        status: "success",
        message,
        recipients,
        count,
        message_ids,
        broadcast_at: app.now(),
    }))
}

/// Nobody answers to everybody. Nothing depends on it, so nobody waits for it.
fn close(app: &App, node: &AgentNode, thread_id: String) {
    let node = node.clone();
    app.streams.spawn(async move {
        let request = rpc::ThreadJoinRequest { account_id: Some(node.account_id().to_owned()), thread_id };
        if let Err(error) = node.registry().call::<rpc::ThreadClose>(&request).await {
            tracing::debug!(%error, "a broadcast's thread stays open");
        }
    });
}

fn priority(said: Option<&str>) -> Result<Priority, Problem> {
    Ok(match said.unwrap_or("normal") {
        "low" => Priority::Low,
        "normal" => Priority::Normal,
        "high" => Priority::High,
        "critical" => Priority::Critical,
        other => return Err(invalid("priority", other, &["low", "normal", "high", "critical"])),
    })
}

fn message_type(said: &str) -> Result<(), Problem> {
    if rpc::MESSAGE_TYPES.contains(&said) {
        Ok(())
    } else {
        Err(invalid("message type", said, &rpc::MESSAGE_TYPES))
    }
}

fn ttl(ms: Option<u64>) -> Result<Option<Duration>, Problem> {
    let ttl = ms.map(Duration::from_millis);
    if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > agentnet_proto::envelope::MAX_TTL) {
        return Err(Problem::field("ttl_ms", "a message lives 1 ms to 30 days"));
    }
    Ok(ttl)
}

/// A message as the seed shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Message {
    /// Its id.
    message_id: String,
    /// The sender.
    sender_id: String,
    /// The receiver; of a broadcast `broadcast:<thread>`, or the one that was asked for.
    receiver_id: String,
    /// What it is.
    message_type: String,
    /// How urgent it is.
    priority: String,
    /// The content.
    payload: Payload,
    /// Under which it was sent; `direct` for what didn't come over the coordinator.
    protocol: String,
    /// When it was sent, ISO 8601.
    timestamp: String,
    /// Its thread.
    thread_id: String,
}

impl Message {
    pub(super) fn of(message: rpc::CoordinatedMessage) -> Self {
        let row = message.row;
        let told = |name: &str, default: &str| {
            row.metadata.get(name).and_then(|v| v.as_str()).unwrap_or(default).to_owned()
        };
        Self {
            priority: told("priority", "normal"),
            protocol: told("protocol", "direct"),
            message_id: row.message_id,
            sender_id: message.sender_id,
            receiver_id: message.receiver_id,
            message_type: row.kind,
            payload: row.payload,
            timestamp: row.sent_at,
            thread_id: row.thread_id,
        }
    }
}

/// Which messages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Only from this agent.
    sender_id: Option<String>,
    /// Only to this agent, broadcasts included.
    receiver_id: Option<String>,
    /// At most this many, 0 to 1,000; 100 unless given.
    #[param(maximum = 1000)]
    limit: Option<u32>,
    /// Leaves out this many, at most 100,000.
    #[param(maximum = 100_000)]
    offset: Option<u32>,
    /// `next_cursor` of the page before: stable whatever comes meanwhile.
    cursor: Option<String>,
}

/// Messages, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    /// Always `success`.
    status: &'static str,
    /// Newest first.
    messages: Vec<Message>,
    /// How many are here.
    count: usize,
    /// As applied.
    limit: u32,
    /// As applied.
    offset: u32,
    /// `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Messages by sender and receiver, newest first
///
/// Whoever isn't an operator reads what its account, and agents that it registered, sent and were sent.
#[utoipa::path(get, path = "/messages/history", tag = "coordinator", params(Filters),
    responses((status = 200, body = ref("#/components/schemas/History"))))]
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Query(filters): Query<Filters>,
) -> Result<Json<History>, Problem> {
    caller.pass(&app, Class::Read)?;
    let (limit, offset) = (filters.limit.unwrap_or(100), filters.offset.unwrap_or(0));
    if limit > 1_000 {
        return Err(Problem::field("limit", "at most 1000; go on with the cursor"));
    }
    let mut history = History {
        status: "success",
        messages: Vec::new(),
        count: 0,
        limit,
        offset,
        next_cursor: None,
        timestamp: app.now(),
    };
    if limit == 0 {
        return Ok(Json(history));
    }
    let request = rpc::MessageHistoryRequest {
        message_id: None,
        sender: filters.sender_id,
        receiver: filters.receiver_id,
        limit: Some(limit.into()),
        offset: Some(offset.into()),
        cursor: filters.cursor,
    };
    let answer = caller.seat.node.registry().call::<rpc::MessageHistory>(&request).await.map_err(refused);
    let answer = match answer {
        // As the seed has it: somebody unknown sent nothing.
        Err(problem)
            if problem.code == "not_found" && app.config.security == agentnet_proto::Security::Open =>
        {
            return Ok(Json(history));
        }
        answer => answer?,
    };
    history.messages = answer.messages.into_iter().map(Message::of).collect();
    history.count = history.messages.len();
    history.next_cursor = answer.next_cursor;
    Ok(Json(history))
}

/// One message.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MessageAnswer {
    /// Always `success`.
    status: &'static str,
    /// The message.
    message: Message,
    /// When, ISO 8601.
    timestamp: String,
}

/// One message
#[utoipa::path(get, path = "/messages/{message_id}", tag = "coordinator",
    params(("message_id" = String, Path, description = "The message.")),
    responses((status = 200, body = ref("#/components/schemas/MessageAnswer"))))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Parts(message_id): Parts<String>,
) -> Result<Json<MessageAnswer>, Problem> {
    caller.pass(&app, Class::Read)?;
    let request = rpc::MessageHistoryRequest {
        message_id: Some(message_id.clone()),
        ..rpc::MessageHistoryRequest::default()
    };
    let answer = caller.seat.node.registry().call::<rpc::MessageHistory>(&request).await.map_err(refused)?;
    let Some(message) = answer.messages.into_iter().next() else {
        let detail = format!("Message {message_id} not found");
        return Err(Problem::new(agentnet_proto::ErrorCode::NotFound, detail));
    };
    Ok(Json(MessageAnswer { status: "success", message: Message::of(message), timestamp: app.now() }))
}
