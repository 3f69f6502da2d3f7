//! `registry.thread_role`: an owner says what a member may do.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberRole, ThreadChange, ThreadMembersResponse, ThreadRoleRequest};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members::{self, RoleSet};

use super::members::{self as shared, Change, Changing, May};
use crate::app::App;
use crate::caller::Call;
use crate::validate;

pub(super) async fn thread_role(
    app: Arc<App>,
    call: Call,
    request: ThreadRoleRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    validate::account_id(&request.member)?;
    if request.role == MemberRole::Other {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "role is owner, admin or member"));
    }
    let changing = Changing {
        operation: "db.thread_role",
        may: May::Own,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    shared::change(&app, &call, changing, async |tx, locked| {
        locked.check_open()?;
        let set = members::set_role(tx, &request.thread_id, &request.member, request.role, app.now()).await?;
        let concerned = match set {
            RoleSet::Now => vec![request.member.clone()],
            RoleSet::Before => Vec::new(),
            RoleSet::NotAMember => {
                let detail = format!("{} isn't in the thread", request.member);
                return Err(RpcError::with_detail(ErrorCode::NotAMember, detail).into());
            }
            RoleSet::LastOwner => {
                let detail = "a thread keeps one owner: make another member one first";
                return Err(RpcError::with_detail(ErrorCode::ThreadOwner, detail).into());
            }
        };
        Ok(Change::of(ThreadChange::Role, concerned))
    })
    .await
}
