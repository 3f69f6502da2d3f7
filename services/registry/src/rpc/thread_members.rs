//! `registry.thread_members`: who is in a thread, for those who are in it or invited, and operators.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberState, ThreadMembersRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::access::Reader;
use agentnet_store::members;

use super::members as shared;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_members(
    app: Arc<App>,
    call: Call,
    request: ThreadMembersRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    shared::thread_id(&request.thread_id)?;
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        let group = members::group(app.store.pool(), &request.thread_id).await?.ok_or(Failed::NotFound)?;
        let members = members::members(app.store.pool(), &request.thread_id).await?;
        let may_see = match &reader {
            Reader::Everything => true,
            Reader::Open(None) => false,
            Reader::Open(Some(account)) | Reader::Own(account) => members.iter().any(|member| {
                member.account_id == account.as_str()
                    && matches!(member.state, MemberState::Joined | MemberState::Invited)
            }),
        };
        if may_see { Ok((group, members)) } else { Err(Failed::NotFound) }
    };
    let (group, members) =
        app.within("db.thread_members", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    Ok(shared::answer(&app, group, members))
}
