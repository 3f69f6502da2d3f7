//! `registry.thread_eject`: an owner puts members out, or takes invitations back.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberState, ThreadEjectRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members;

use super::members as shared;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_eject(
    app: Arc<App>,
    call: Call,
    request: ThreadEjectRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let thread_id = request.thread_id;
    shared::thread_id(&thread_id)?;
    shared::named("eject", &request.eject)?;
    let work = async {
        let by = access::actor(&app, &call, request.account_id.as_deref()).await?;
        if request.eject.iter().any(|id| id == by.as_str()) {
            let detail = "an owner leaves a thread (thread_leave) instead of ejecting itself";
            return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
        }
        let mut tx = shared::begin(&app).await?;
        let group = shared::lock_as_owner(&app, &mut tx, &thread_id, &by).await?;
        let ended = members::end(&mut tx, &thread_id, &request.eject, true, app.now()).await?;
        let present = members::members(&mut *tx, &thread_id).await?;
        shared::commit(tx).await?;
        Ok((shared::answer(&app, group, present), ended, by))
    };
    let (answer, ended, by) =
        app.within("db.thread_eject", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    shared::announce(&app, &answer, MemberState::Ejected, ended, &by).await;
    Ok(answer)
}
