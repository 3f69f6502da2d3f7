//! `registry.agent_show`: one agent.

use std::sync::Arc;

use agentnet_proto::rpc::{AgentShowRequest, AgentShowResponse};
use agentnet_proto::{ErrorCode, RpcError};

use super::{card, named};
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(in crate::rpc) async fn show(
    app: Arc<App>,
    _call: Call,
    request: AgentShowRequest,
) -> Result<AgentShowResponse, RpcError> {
    let work = async { named(&app, "agent", &request.agent).await };
    let agent = app.within("db.agent_show", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(AgentShowResponse { agent: card(agent), generated_at: app.now().to_string() })
}
