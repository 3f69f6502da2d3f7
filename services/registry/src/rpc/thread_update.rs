//! `registry.thread_update`: an owner or admin changes what a thread says about itself.

use std::sync::Arc;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{ThreadChange, ThreadMembersResponse, ThreadUpdateRequest};
use agentnet_store::members::{self, GroupUpdate};

use super::members::{self as shared, Change, Changing, May};
use crate::app::App;
use crate::caller::Call;

pub(super) async fn thread_update(
    app: Arc<App>,
    call: Call,
    request: ThreadUpdateRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let title = request.title.as_deref().map(str::trim);
    let subject = request.subject.as_deref().map(str::trim);
    shared::described(title.unwrap_or_default(), subject.unwrap_or_default(), request.metadata.as_ref())?;
    let changing = Changing {
        operation: "db.thread_update",
        may: May::Manage,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    let update = GroupUpdate { title, subject, public: request.public, metadata: request.metadata.as_ref() };
    shared::change(&app, &call, changing, async |tx, locked| {
        locked.check_open()?;
        members::update(tx, &request.thread_id, &update, app.now()).await?;
        let present = members::members(&mut *tx, &request.thread_id).await?;
        let all = present.into_iter().map(|member| member.account_id).collect();
        Ok(Change::of(ThreadChange::Updated, all))
    })
    .await
}
