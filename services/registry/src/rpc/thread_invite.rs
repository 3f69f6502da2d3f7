//! `registry.thread_invite`: an owner or admin asks accounts in. Who is in or invited already stays so.

use std::sync::Arc;

use agentnet_proto::rpc::{ThreadChange, ThreadInviteRequest, ThreadMembersResponse};
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::Connection;
use agentnet_store::members::{self, Invited};

use super::members::{self as shared, Change, Changing, May};
use crate::app::{App, Failed};
use crate::caller::Call;

pub(super) async fn thread_invite(
    app: Arc<App>,
    call: Call,
    request: ThreadInviteRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    shared::named("invite", &request.invite)?;
    let changing = Changing {
        operation: "db.thread_invite",
        may: May::Manage,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    shared::change(&app, &call, changing, async |tx, locked| {
        locked.check_open()?;
        let invited = invite(&app, tx, &request.thread_id, &request.invite, &locked.by).await?;
        Ok(Change::of(ThreadChange::Invited, invited))
    })
    .await
}

/// Invites within a change; returns whom it is news for.
pub(super) async fn invite(
    app: &App,
    tx: &mut Connection,
    thread_id: &str,
    accounts: &[String],
    by: &AccountId,
) -> Result<Vec<String>, Failed> {
    let max = app.config.thread_members_max;
    match members::invite(tx, thread_id, accounts, by.as_str(), max, app.now()).await? {
        Invited::New(invited) => Ok(invited),
        Invited::Unknown(unknown) => {
            let detail = format!("no such account: {}", unknown.join(", "));
            Err(RpcError::with_detail(ErrorCode::NotFound, detail).into())
        }
        Invited::TooMany => Err(shared::full(app).into()),
    }
}
