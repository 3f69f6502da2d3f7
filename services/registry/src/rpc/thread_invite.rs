//! `registry.thread_invite`: an owner asks accounts in. Who is in or invited already stays so.

use std::sync::Arc;

use agentnet_proto::rpc::{MAX_MEMBERS, MemberState, ThreadInviteRequest, ThreadMembersResponse};
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::Connection;
use agentnet_store::members::{self, Invited};

use super::members as shared;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_invite(
    app: Arc<App>,
    call: Call,
    request: ThreadInviteRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let thread_id = request.thread_id;
    shared::thread_id(&thread_id)?;
    shared::named("invite", &request.invite)?;
    let work = async {
        let by = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = shared::begin(&app).await?;
        let group = shared::lock_as_owner(&app, &mut tx, &thread_id, &by).await?;
        let invited = invite(&app, &mut tx, &thread_id, &request.invite, &by).await?;
        let present = members::members(&mut *tx, &thread_id).await?;
        shared::commit(tx).await?;
        Ok((shared::answer(&app, group, present), invited, by))
    };
    let (answer, invited, by) =
        app.within("db.thread_invite", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    shared::announce(&app, &answer, MemberState::Invited, invited, &by).await;
    Ok(answer)
}

/// Invites within a change; returns whom it is news for.
pub(super) async fn invite(
    app: &App,
    tx: &mut Connection,
    thread_id: &str,
    accounts: &[String],
    by: &AccountId,
) -> Result<Vec<String>, Failed> {
    match members::invite(tx, thread_id, accounts, by.as_str(), app.now()).await? {
        Invited::New(invited) => Ok(invited),
        Invited::Unknown(unknown) => {
            let detail = format!("no such account: {}", unknown.join(", "));
            Err(RpcError::with_detail(ErrorCode::NotFound, detail).into())
        }
        Invited::TooMany => Err(full().into()),
    }
}

pub(super) fn full() -> RpcError {
    RpcError::with_detail(
        ErrorCode::ThreadFull,
        format!("a thread has at most {MAX_MEMBERS} members and invited"),
    )
}
