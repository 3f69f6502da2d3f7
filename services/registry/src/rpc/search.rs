//! `registry.search`: accounts by name, capability and status.

use std::sync::Arc;

use agentnet_proto::rpc::{SearchRequest, SearchResponse, SearchResult, clamp_limit};
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::access::Reader;
use agentnet_store::account_search::{self, AccountFilter, FoundAccount, Presence};

use super::fit::fit;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn search(
    app: Arc<App>,
    call: Call,
    request: SearchRequest,
) -> Result<SearchResponse, RpcError> {
    validate::query("query", &request.query)?;
    validate::queries(&[
        ("capability", &request.capability),
        ("status", &request.status),
        ("sub_system_type", &request.sub_system_type),
    ])?;
    let limit = clamp_limit(request.limit, 20, 100);
    let (presence, status) = match (request.online_only, request.status.as_deref()) {
        (_, Some("online")) => (Presence::Online, None),
        (true, Some("offline")) => {
            return Err(RpcError::with_detail(
                ErrorCode::InvalidField,
                "online_only contradicts status offline",
            ));
        }
        (false, Some("offline")) => (Presence::Offline, None),
        (true, status) => (Presence::Online, status),
        (false, status) => (Presence::Any, status),
    };
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        let filter = AccountFilter {
            query: &request.query,
            capability: request.capability.as_deref(),
            sub_system_type: request.sub_system_type.as_deref(),
            status,
            presence,
            public_for: match &reader {
                Reader::Everything => None,
                Reader::Open(account) => Some(account.as_ref().map_or("", AccountId::as_str)),
                Reader::Own(account) => Some(account.as_str()),
            },
            // Rows are behind by up to one flush.
            stale_after: app.config.ttl + app.config.flush_interval * 2,
            limit,
        };
        Ok(account_search::search(app.store.pool(), &filter).await?)
    };
    let found = app.within("db.search", QUERY_DEADLINE, ErrorCode::SearchFailed, work).await?;
    let mut results: Vec<SearchResult> = found.into_iter().map(result).collect();
    let truncated = fit(&mut results, app.row_budget());
    Ok(SearchResponse {
        query: request.query,
        capability: request.capability,
        limit,
        online_only: request.online_only,
        status: request.status,
        results,
        truncated,
        generated_at: app.now().to_string(),
    })
}

fn result(found: FoundAccount) -> SearchResult {
    let account = found.account;
    SearchResult {
        account_id: account.account_id,
        username: account.username,
        display_name: account.display_name,
        capabilities: account.capabilities,
        metadata: account.metadata,
        visibility: account.visibility,
        status: account.status,
        online_sessions: found.online_sessions,
        online: found.online_sessions > 0,
    }
}
