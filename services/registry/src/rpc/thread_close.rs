//! `registry.thread_close`: an owner ends a thread. Its members still read it; nobody posts any more.

use std::sync::Arc;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{ThreadChange, ThreadJoinRequest, ThreadMembersResponse};
use agentnet_store::members;

use super::members::{self as shared, Change, Changing, May};
use crate::app::App;
use crate::caller::Call;

pub(super) async fn thread_close(
    app: Arc<App>,
    call: Call,
    request: ThreadJoinRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let changing = Changing {
        operation: "db.thread_close",
        may: May::Own,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    shared::change(&app, &call, changing, async |tx, locked| {
        // Whose invitation ends hears it as well.
        let present = members::members(&mut *tx, &request.thread_id).await?;
        let closed = members::close(tx, &request.thread_id, locked.by.as_str(), app.now()).await?;
        let all = present.into_iter().filter(|_| closed).map(|member| member.account_id).collect();
        Ok(Change::of(ThreadChange::Closed, all))
    })
    .await
}
