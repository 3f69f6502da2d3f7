//! `registry.broadcast_open`: a thread with everybody who matches, for one message to all of them.

use std::sync::Arc;

use agentnet_proto::rpc::{BroadcastOpenRequest, BroadcastOpenResponse, MAX_BROADCAST};
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::StoreError;
use agentnet_store::agents::{self, AgentFilter, NewBroadcast};

use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::agents::at;
use crate::validate;

pub(in crate::rpc) async fn open(
    app: Arc<App>,
    call: Call,
    request: BroadcastOpenRequest,
) -> Result<BroadcastOpenResponse, RpcError> {
    validate::queries(&[
        ("agent_type", &request.agent_type),
        ("status", &request.status),
        ("after", &request.after),
    ])?;
    validate::words("capabilities", &request.capabilities)?;
    validate::words("services", &request.services)?;
    validate::words("tags", &request.tags)?;
    let thread_id = format!("broadcast_{}", app.ids.message_id());
    let failed = StoreError::query("broadcast_open.transaction");
    let work = async {
        let sender = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let sees_all = app.config.security == Security::Open || access::is_operator(&app, &sender).await?;
        let filter = AgentFilter {
            status: request.status.as_deref(),
            agent_type: request.agent_type.as_deref(),
            capabilities: &request.capabilities,
            services: &request.services,
            tags: &request.tags,
            min_health: None,
            public_for: (!sees_all).then_some(&sender),
            only_public: false,
        };
        let after = request.after.as_deref().unwrap_or_default();
        let most = i64::try_from(MAX_BROADCAST).unwrap_or(i64::MAX);
        let mut receivers =
            agents::receivers(app.store.pool(), &filter, at(&app), sender.as_str(), after, most + 1).await?;
        let more = receivers.len() > MAX_BROADCAST;
        receivers.truncate(MAX_BROADCAST);
        if receivers.is_empty() {
            return Ok((receivers, more));
        }
        let new = NewBroadcast { thread_id: &thread_id, sender: sender.as_str(), receivers: &receivers };
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        if !agents::open_broadcast(&mut tx, &new, app.now()).await? {
            return Err(RpcError::from(ErrorCode::ThreadExists).into());
        }
        tx.commit().await.map_err(&failed)?;
        Ok((receivers, more))
    };
    let (receivers, more) =
        app.within("db.broadcast_open", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    Ok(BroadcastOpenResponse {
        thread_id: (!receivers.is_empty()).then_some(thread_id),
        next: receivers.last().filter(|_| more).map(|last| last.account_id.clone()),
        recipients: receivers.into_iter().map(|receiver| receiver.agent_id).collect(),
        generated_at: app.now().to_string(),
    })
}
