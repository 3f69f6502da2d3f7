//! `registry.suspend` and `.resume`: locks an account out everywhere at once, and lets it in again.

use std::sync::Arc;

use agentnet_proto::rpc::{StandingRequest, StandingResponse};
use agentnet_proto::{AccountChange, ErrorCode, RpcError};
use agentnet_store::standing;

use super::standing as shared;
use crate::app::App;
use crate::caller::Call;

pub(super) async fn suspend(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<StandingResponse, RpcError> {
    shared::change(&app, &call, &request, AccountChange::Suspended, async |by, target| {
        if by.is_some_and(|by| by.as_str() == target.account_id) {
            let detail = "an operator can't suspend itself; another one has to";
            return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
        }
        Ok(standing::set_suspended(app.store.pool(), &target.account_id, true, app.now()).await?)
    })
    .await
}

pub(super) async fn resume(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<StandingResponse, RpcError> {
    shared::change(&app, &call, &request, AccountChange::Resumed, async |_, target| {
        Ok(standing::set_suspended(app.store.pool(), &target.account_id, false, app.now()).await?)
    })
    .await
}
