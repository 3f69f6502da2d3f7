//! `registry.network`: what a client has to know before it can sign, and whom it speaks for.

use std::sync::Arc;

use agentnet_proto::rpc::{CallerAccount, NetworkRequest, NetworkResponse};
use agentnet_proto::{ErrorCode, RpcError, schema_version};
use agentnet_store::accounts;

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::{Call, Caller};
use crate::callout;

pub(super) async fn network(
    app: Arc<App>,
    call: Call,
    _: NetworkRequest,
) -> Result<NetworkResponse, RpcError> {
    let db = app.store.pool();
    let work = async {
        Ok(match &call.caller {
            Caller::Anyone => None,
            Caller::Account(id) => accounts::standing(db, id.as_str()).await?,
            Caller::Key(key) => {
                let owner = accounts::owner_of_key(db, &key.to_string(), app.now()).await?;
                owner.map(|owner| owner.standing)
            }
        })
    };
    let account = app.within("db.network", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?;
    Ok(NetworkResponse {
        deployment: app.config.deployment.to_string(),
        security: app.config.security,
        connection_seconds: app
            .config
            .callout
            .as_ref()
            .map(|callout| callout::shortest(callout.lifetime).as_secs_f64()),
        schema_version: schema_version::CURRENT.to_owned(),
        account: account.map(|standing| CallerAccount {
            account_id: standing.account_id,
            username: standing.username,
            role: standing.role,
        }),
    })
}
