//! `registry.thread_eject`: an owner or admin puts members out, or takes invitations back.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberRole, MemberState, ThreadChange, ThreadEjectRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members;

use super::members::{self as shared, Change, Changing, May};
use crate::app::App;
use crate::caller::Call;

pub(super) async fn thread_eject(
    app: Arc<App>,
    call: Call,
    request: ThreadEjectRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    shared::named("eject", &request.eject)?;
    let changing = Changing {
        operation: "db.thread_eject",
        may: May::Manage,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    shared::change(&app, &call, changing, async |tx, locked| {
        let present = members::members(&mut *tx, &request.thread_id).await?;
        let meant = present.iter().filter(|member| request.eject.contains(&member.account_id));
        for member in meant {
            if member.role == MemberRole::Owner && member.state == MemberState::Joined {
                return Err(RpcError::from(ErrorCode::ThreadOwner).into());
            }
            if member.role == MemberRole::Admin && !locked.owns {
                let detail = "only an owner of the thread puts its admins out";
                return Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into());
            }
        }
        let ended = members::end(tx, &request.thread_id, &request.eject, true, app.now()).await?;
        Ok(Change::of(ThreadChange::Ejected, ended))
    })
    .await
}
