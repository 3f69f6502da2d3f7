//! `registry.api_key_revoke`: takes an API key out of use, with the logins it made.

use std::sync::Arc;

use agentnet_proto::rpc::{ApiKeyRevokeRequest, ApiKeyRevokeResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::logins::{self, Ended, Which};
use agentnet_store::{StoreError, api_keys};

use super::api_key_row;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::session::News;
use crate::{access, validate};

pub(in crate::rpc) async fn api_key_revoke(
    app: Arc<App>,
    call: Call,
    request: ApiKeyRevokeRequest,
) -> Result<ApiKeyRevokeResponse, RpcError> {
    validate::query("key_id", &request.key_id)?;
    if request.key_id.is_empty() {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "key_id is required"));
    }
    let work = async {
        let by = access::operator_or_other(&app, &call, request.account_id.as_deref()).await?;
        let key = api_keys::by_id(app.store.pool(), &request.key_id).await?.ok_or(Failed::NotFound)?;
        match &by {
            None | Some((_, true)) => {}
            Some((by, false)) if by.as_str() == key.account_id => {}
            // Whether it exists is nobody else's business.
            Some(_) => return Err(Failed::NotFound),
        }
        let failed = StoreError::query("api_key_revoke.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let key = api_keys::revoke(&mut tx, &request.key_id, app.now()).await?.ok_or(Failed::NotFound)?;
        let ended = logins::end(&mut tx, Which::ApiKey(&key.key_id), Ended::Revoked, app.now()).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((key, News::ended(ended)))
    };
    let (key, news) = app.within("db.api_key_revoke", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    news.tell(&app).await;
    tracing::info!(account = key.account_id, key_id = key.key_id, "an API key was revoked");
    Ok(ApiKeyRevokeResponse { key: api_key_row(key), generated_at: app.now().to_string() })
}
