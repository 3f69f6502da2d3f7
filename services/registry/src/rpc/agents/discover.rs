//! `registry.agent_discover`: agents by what they are and how they are.

use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{AgentDiscoverRequest, AgentDiscoverResponse, MAX_AGENTS_PAGE, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError, Security, Timestamp};
use agentnet_store::agents::{self, After, AgentFilter, At};

use super::{at, card, reader};
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::{Call, Caller};
use crate::rpc::fit;
use crate::validate;

pub(in crate::rpc) async fn discover(
    app: Arc<App>,
    call: Call,
    request: AgentDiscoverRequest,
) -> Result<AgentDiscoverResponse, RpcError> {
    validate::queries(&[("status", &request.status), ("agent_type", &request.agent_type)])?;
    validate::words("capabilities", &request.capabilities)?;
    validate::words("services", &request.services)?;
    validate::words("tags", &request.tags)?;
    let limit = clamp_limit(request.limit, 100, MAX_AGENTS_PAGE);
    let after = request.cursor.as_deref().and_then(TextCursor::decode).and_then(after);
    let mut at: At = at(&app);
    if let Some(after) = &after {
        // The order of the first page holds for all.
        at.now = after.at;
    }
    let work = async {
        let reader = reader(&app, &call).await?;
        let filter = AgentFilter {
            status: request.status.as_deref(),
            agent_type: request.agent_type.as_deref(),
            capabilities: &request.capabilities,
            services: &request.services,
            tags: &request.tags,
            min_health: request.min_health_score,
            public_for: reader.as_ref(),
            // Of one who proves nothing where that counts nobody knows who it is.
            only_public: app.config.security != Security::Open && call.caller == Caller::Anyone,
        };
        Ok(agents::discover(app.store.pool(), &filter, at, after.as_ref(), limit + 1).await?)
    };
    let found = app.within("db.agent_discover", QUERY_DEADLINE, ErrorCode::SearchFailed, work).await?;
    let rows = found.into_iter().map(card).collect();
    let (agents, next_cursor) =
        fit::page(rows, limit, app.row_budget(), |last: &agentnet_proto::rpc::AgentCard| {
            TextCursor([at.now.to_string(), last.health_score.to_string(), last.account_id.clone()]).encode()
        });
    Ok(AgentDiscoverResponse { agents, next_cursor, generated_at: app.now().to_string() })
}

fn after(TextCursor([at, health, account_id]): TextCursor<3>) -> Option<After> {
    let health = health.parse().ok().filter(|health: &f64| health.is_finite())?;
    Some(After { at: Timestamp::parse(&at)?, health, account_id })
}
