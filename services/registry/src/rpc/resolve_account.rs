//! `registry.resolve_account`: username to account.

use std::sync::Arc;

use agentnet_proto::rpc::{ResolveAccountRequest, ResolveAccountResponse};
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError};

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn resolve_account(
    app: Arc<App>,
    _: Call,
    request: ResolveAccountRequest,
) -> Result<ResolveAccountResponse, RpcError> {
    validate::query("username", &request.username)?;
    let username = normalize_username(&request.username);
    super::required(&username, ErrorCode::UsernameRequired)?;
    let account_id = match app.caches.known_id_of_username(&username).await {
        Some(id) => id,
        None => {
            let work = async { Ok(app.caches.id_of_username(&app.store, &username).await?) };
            app.within("db.resolve_account", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?
        }
    };
    Ok(ResolveAccountResponse {
        account_id: account_id.to_string(),
        username,
        resolved_at: app.now().to_string(),
    })
}
