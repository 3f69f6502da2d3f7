//! `registry.thread_leave`: a member goes, or declines an invitation. What waits for it there isn't delivered any more.

use std::sync::Arc;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{MemberState, ThreadChange, ThreadJoinRequest, ThreadMembersResponse};
use agentnet_store::members;

use super::members::{self as shared, Change, Changing, May};
use crate::app::{App, Failed};
use crate::caller::Call;

pub(super) async fn thread_leave(
    app: Arc<App>,
    call: Call,
    request: ThreadJoinRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let changing = Changing {
        operation: "db.thread_leave",
        may: May::Anyone,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    shared::change(&app, &call, changing, async |tx, locked| {
        let member = locked.member.as_ref().ok_or(Failed::NotFound)?;
        let what = match member.state {
            MemberState::Invited => ThreadChange::Declined,
            _ => ThreadChange::Left,
        };
        let account = [locked.by.to_string()];
        let ended = members::end(tx, &request.thread_id, &account, false, app.now()).await?;
        Ok(Change::of(what, ended))
    })
    .await
}
