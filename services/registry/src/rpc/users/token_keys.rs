//! `registry.token_keys`: the keys that access tokens verify with, so that gateways do that by themselves.

use std::sync::Arc;

use agentnet_proto::rpc::{TokenKeysRequest, TokenKeysResponse};
use agentnet_proto::{ErrorCode, RpcError};

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(in crate::rpc) async fn token_keys(
    app: Arc<App>,
    _: Call,
    _: TokenKeysRequest,
) -> Result<TokenKeysResponse, RpcError> {
    let work = app.users.tokens.public(&app);
    let keys = app.within("db.token_keys", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(TokenKeysResponse {
        issuer: app.config.deployment.to_string(),
        keys,
        generated_at: app.now().to_string(),
    })
}
