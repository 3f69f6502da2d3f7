//! `registry.message_route`: whether an agent may be sent a message under a protocol.

use std::sync::Arc;

use agentnet_proto::rpc::{MessageRouteRequest, MessageRouteResponse, PROTOCOLS};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::agents::{self, Agent};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::agents::{at, named};

pub(in crate::rpc) async fn route(
    app: Arc<App>,
    call: Call,
    request: MessageRouteRequest,
) -> Result<MessageRouteResponse, RpcError> {
    if !PROTOCOLS.contains(&request.protocol.as_str()) {
        let detail =
            format!("Invalid protocol: {}. Valid protocols: {}", request.protocol, PROTOCOLS.join(", "));
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let work = async {
        let sender = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let receiver = named(&app, "receiver", &request.receiver).await?;
        may(&app, sender.as_str(), &receiver, &request.protocol).await?;
        Ok(receiver)
    };
    let receiver = app.within("db.message_route", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(MessageRouteResponse {
        receiver_account_id: receiver.account_id,
        receiver_id: receiver.agent_id,
        generated_at: app.now().to_string(),
    })
}

/// What the receiver says it takes, held against how it stands to the sender.
async fn may(app: &App, sender: &str, receiver: &Agent, protocol: &str) -> Result<(), Failed> {
    let accepts = &receiver.accepts;
    let rule = match protocol {
        "hierarchical" => accepts.hierarchical.as_deref(),
        "peer_to_peer" => accepts.peer_to_peer.as_deref(),
        _ => accepts.broadcast.as_deref(),
    };
    let fits = match rule.unwrap_or("all") {
        "none" => false,
        "relations" => is_related(app, sender, receiver).await?,
        "peers" => agents::is_peer(app.store.pool(), &receiver.account_id, sender).await?,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let detail = format!(
        "{} takes {protocol} messages from {} only",
        receiver.agent_id,
        match rule {
            Some("relations") => "its coordinator, its workers and its owner",
            Some("peers") => "its peers",
            _ => "nobody",
        }
    );
    Err(RpcError::with_detail(ErrorCode::ProtocolForbidden, detail).into())
}

/// Along the lines of coordinators and workers.
async fn is_related(app: &App, sender: &str, receiver: &Agent) -> Result<bool, Failed> {
    if receiver.coordinator_id.as_deref() == Some(sender) || receiver.owner_id.as_deref() == Some(sender) {
        return Ok(true);
    }
    let sender = agents::of_account(app.store.pool(), sender, at(app)).await?;
    Ok(sender.is_some_and(|sender| sender.coordinator_id.as_deref() == Some(receiver.account_id.as_str())))
}
