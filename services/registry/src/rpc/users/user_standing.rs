//! `registry.user_disable` and `.user_enable`: a person is locked out, with every login ended, and let in again.

use std::sync::Arc;

use agentnet_proto::rpc::{StandingRequest, UserResponse};
use agentnet_proto::{AccountChange, ErrorCode, RpcError};
use agentnet_store::logins::{self, Ended, Which};
use agentnet_store::{StoreError, standing, users};

use super::user_response;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::standing as shared;
use crate::users::session::News;

pub(in crate::rpc) async fn disable(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<UserResponse, RpcError> {
    set(&app, &call, &request, true).await
}

pub(in crate::rpc) async fn enable(
    app: Arc<App>,
    call: Call,
    request: StandingRequest,
) -> Result<UserResponse, RpcError> {
    set(&app, &call, &request, false).await
}

async fn set(
    app: &App,
    call: &Call,
    request: &StandingRequest,
    locked_out: bool,
) -> Result<UserResponse, RpcError> {
    let change = if locked_out { AccountChange::Suspended } else { AccountChange::Resumed };
    let mut news = News::default();
    let done = shared::change(app, call, request, change, async |by, target| {
        let db = app.store.pool();
        users::by_id(db, &target.account_id).await?.ok_or(Failed::NotFound)?;
        if locked_out && by.is_some_and(|by| by.as_str() == target.account_id) {
            let detail = "an operator can't disable itself; another one has to";
            return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
        }
        let failed = StoreError::query("user_disable.transaction");
        let mut tx = db.begin().await.map_err(&failed)?;
        standing::set_suspended(&mut *tx, &target.account_id, locked_out, app.now()).await?;
        if locked_out {
            let which = Which::Account(&target.account_id);
            let ended = logins::end(&mut tx, which, Ended::Disabled, app.now()).await?;
            news = News::ended(ended);
        }
        tx.commit().await.map_err(&failed)?;
        Ok(())
    })
    .await?;
    news.tell(app).await;
    let work =
        async { users::by_id(app.store.pool(), &done.account.account_id).await?.ok_or(Failed::NotFound) };
    let person = app.within("db.user", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(user_response(app, person))
}
