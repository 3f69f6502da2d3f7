//! `registry.api_key_list`: an account's keys for machines, without their secrets.

use std::sync::Arc;

use agentnet_proto::rpc::{ApiKeyListRequest, ApiKeyListResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::api_keys;

use super::{api_key_row, whose};
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(in crate::rpc) async fn api_key_list(
    app: Arc<App>,
    call: Call,
    request: ApiKeyListRequest,
) -> Result<ApiKeyListResponse, RpcError> {
    let work = async {
        let account_id = whose(&app, &call, request.account_id.as_deref(), request.target.as_deref()).await?;
        Ok(api_keys::list(app.store.pool(), &account_id).await?)
    };
    let found = app.within("db.api_key_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let keys = found.into_iter().map(api_key_row).collect();
    Ok(ApiKeyListResponse { keys, generated_at: app.now().to_string() })
}
