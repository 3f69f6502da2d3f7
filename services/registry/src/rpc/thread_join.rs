//! `registry.thread_join`: an invited account comes in, or any account where the thread is public.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberState, ThreadJoinRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members::{self, Joined};

use super::members as shared;
use super::thread_invite::full;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_join(
    app: Arc<App>,
    call: Call,
    request: ThreadJoinRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let thread_id = request.thread_id;
    shared::thread_id(&thread_id)?;
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = shared::begin(&app).await?;
        let (group, _) = shared::lock(&mut tx, &thread_id, &account).await?;
        let joined = match members::join(&mut tx, &group, account.as_str(), app.now()).await? {
            Joined::Now => vec![account.to_string()],
            Joined::Before => Vec::new(),
            Joined::TooMany => return Err(full().into()),
            // As if there were no such thread.
            Joined::Refused => return Err(Failed::NotFound),
        };
        let present = members::members(&mut *tx, &thread_id).await?;
        shared::commit(tx).await?;
        Ok((shared::answer(&app, group, present), joined, account))
    };
    let (answer, joined, account) =
        app.within("db.thread_join", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    shared::announce(&app, &answer, MemberState::Joined, joined, &account).await;
    Ok(answer)
}
