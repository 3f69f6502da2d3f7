//! `registry.operator_grant`, `.operator_revoke` and `.operator_list`: who runs the network.

use std::sync::Arc;

use agentnet_proto::rpc::{OperatorListRequest, OperatorListResponse, StandingRequest, StandingResponse};
use agentnet_proto::{AccountChange, ErrorCode, RpcError};
use agentnet_store::standing;

use super::standing as shared;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn grant(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<StandingResponse, RpcError> {
    set(&app, &call, &request, true).await
}

pub(super) async fn revoke(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<StandingResponse, RpcError> {
    set(&app, &call, &request, false).await
}

async fn set(
    app: &App,
    call: &Call,
    request: &StandingRequest,
    operator: bool,
) -> Result<StandingResponse, RpcError> {
    shared::change(app, call, request, AccountChange::Permissions, async |_, target| {
        let configured = target.public_key.as_ref().is_some_and(|key| app.config.operator_keys.contains(key));
        if configured && !operator {
            let detail =
                "the registry's configuration names the account's key: take it out of AGENTNET_OPERATOR_KEYS";
            return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
        }
        if standing::set_operator(app.store.pool(), &target.account_id, operator, app.now()).await? {
            return Ok(());
        }
        let detail = format!("an account with the role {} can't be an operator", target.role);
        Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into())
    })
    .await
}

pub(super) async fn list(
    app: Arc<App>,
    call: Call,
    _: OperatorListRequest,
) -> Result<OperatorListResponse, RpcError> {
    let work = async {
        access::operator_reads(&app, &call).await?;
        Ok(standing::operators(app.store.pool(), &app.config.operator_keys).await?)
    };
    let found = app.within("db.operators", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(OperatorListResponse {
        operators: found.into_iter().map(|standing| shared::row(&app, standing)).collect(),
        generated_at: app.now().to_string(),
    })
}
