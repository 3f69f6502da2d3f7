//! `registry.thread_leave`: a member goes, or declines an invitation. What waits for it there isn't delivered any more.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberState, ThreadJoinRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members;

use super::members as shared;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_leave(
    app: Arc<App>,
    call: Call,
    request: ThreadJoinRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let thread_id = request.thread_id;
    shared::thread_id(&thread_id)?;
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = shared::begin(&app).await?;
        let (group, member) = shared::lock(&mut tx, &thread_id, &account).await?;
        member.ok_or(Failed::NotFound)?;
        let ended = members::end(&mut tx, &thread_id, &[account.to_string()], false, app.now()).await?;
        let present = members::members(&mut *tx, &thread_id).await?;
        let own = members::member(&mut *tx, &thread_id, account.as_str()).await?;
        shared::commit(tx).await?;
        Ok((group, present, own, ended, account))
    };
    let (group, present, own, ended, account) =
        app.within("db.thread_leave", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    let told = shared::answer(&app, group.clone(), present);
    shared::announce(&app, &told, MemberState::Left, ended, &account).await;
    // Who the others are is no business of one who left.
    Ok(shared::answer(&app, group, own.into_iter().collect()))
}
