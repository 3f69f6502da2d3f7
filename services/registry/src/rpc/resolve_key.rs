//! `registry.resolve_key`: account to public key.

use std::sync::Arc;

use agentnet_proto::rpc::{ResolveKeyRequest, ResolveKeyResponse};
use agentnet_proto::{ErrorCode, RpcError};

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn resolve_key(
    app: Arc<App>,
    _: Call,
    request: ResolveKeyRequest,
) -> Result<ResolveKeyResponse, RpcError> {
    super::required(&request.account_id, ErrorCode::AccountIdRequired)?;
    validate::query("account_id", &request.account_id)?;
    let public_key = match app.caches.known_key(&request.account_id).await {
        Some(key) => key,
        None => {
            let work = async { Ok(app.caches.key(&app.store, &request.account_id).await?) };
            app.within("db.resolve_key", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?
        }
    };
    Ok(ResolveKeyResponse {
        account_id: request.account_id,
        public_key: public_key.to_string(),
        resolved_at: app.now().to_string(),
    })
}
