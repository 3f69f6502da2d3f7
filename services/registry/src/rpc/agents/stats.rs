//! `registry.agent_stats`: how many agents there are.

use std::sync::Arc;

use agentnet_proto::rpc::{AgentStatsRequest, AgentStatsResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::agents;

use super::at;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(in crate::rpc) async fn stats(
    app: Arc<App>,
    _call: Call,
    _request: AgentStatsRequest,
) -> Result<AgentStatsResponse, RpcError> {
    let work = async { Ok(agents::stats(app.store.pool(), at(&app)).await?) };
    let found = app.within("db.agent_stats", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(AgentStatsResponse {
        total_agents: found.statuses.values().sum(),
        status_counts: found.statuses,
        type_counts: found.types,
        capabilities: found.capabilities,
        services: found.services,
        average_health_score: (found.health * 100.0).round() / 100.0,
        generated_at: app.now().to_string(),
    })
}
