//! Mail of agents that poll.

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{answers::refused, messages::Message};
use crate::{
    app::App,
    caller::Caller,
    http::{Body, Parts, Problem, Query},
    rates::Class,
};

/// How much, for how long.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Fetch {
    /// At most this many, 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// What isn't acknowledged after so many seconds is there again, 1 to 3600; 60 unless given.
    #[param(minimum = 1, maximum = 3600)]
    lease_seconds: Option<u32>,
}

/// Messages for an agent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Mailbox {
    /// Always `success`.
    status: &'static str,
    /// The agent.
    agent_id: String,
    /// In the order they came.
    messages: Vec<MailItem>,
    /// How many are here.
    count: usize,
    /// When, ISO 8601.
    timestamp: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MailItem {
    #[serde(flatten)]
    message: Message,
    /// How often it was fetched, from 1; after the fifth time it isn't given again.
    attempt: i32,
    /// Until when it is this reader's, ISO 8601.
    lease_until: String,
}

/// Fetch an agent's messages
///
/// For the agent itself, and for whoever registered it. What is fetched must be acknowledged.
#[utoipa::path(get, path = "/agents/{agent_id}/messages", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent."), Fetch),
    responses((status = 200, body = ref("#/components/schemas/Mailbox"))))]
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    Query(fetch): Query<Fetch>,
) -> Result<Json<Mailbox>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::MailFetchRequest {
        account_id: caller.claims(),
        agent: agent.clone(),
        limit: fetch.limit.map(i64::from),
        lease_seconds: fetch.lease_seconds,
    };
    let answer = caller.seat.node.registry().call::<rpc::MailFetch>(&request).await.map_err(refused)?;
    let messages: Vec<MailItem> = answer
        .mail
        .into_iter()
        .map(|mail| MailItem {
            message: Message::of(mail.message),
            attempt: mail.attempt,
            lease_until: mail.lease_until,
        })
        .collect();
    let count = messages.len();
    Ok(Json(Mailbox { status: "success", agent_id: agent, messages, count, timestamp: app.now() }))
}

/// What was handled.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AckBody {
    /// Handled.
    #[serde(default)]
    message_ids: Vec<String>,
    /// Could not be handled, for good.
    #[serde(default)]
    failed: Vec<String>,
}

/// What is finished now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Acknowledged {
    /// Always `success`.
    status: &'static str,
    /// Finished now, or before.
    acknowledged: Vec<String>,
    /// None of the agent's.
    unknown: Vec<String>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Acknowledge messages
#[utoipa::path(post, path = "/agents/{agent_id}/messages/ack", tag = "coordinator",
    params(("agent_id" = String, Path, description = "The agent.")),
    request_body = ref("#/components/schemas/AckBody"),
    responses((status = 200, body = ref("#/components/schemas/Acknowledged"))))]
pub(crate) async fn ack(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    Body(body): Body<AckBody>,
) -> Result<Json<Acknowledged>, Problem> {
    caller.pass(&app, Class::Work)?;
    let request = rpc::MailAckRequest {
        account_id: caller.claims(),
        agent,
        message_ids: body.message_ids,
        failed: body.failed,
    };
    let answer = caller.seat.node.registry().call::<rpc::MailAck>(&request).await.map_err(refused)?;
    Ok(Json(Acknowledged {
        status: "success",
        acknowledged: answer.acknowledged,
        unknown: answer.unknown,
        timestamp: app.now(),
    }))
}
