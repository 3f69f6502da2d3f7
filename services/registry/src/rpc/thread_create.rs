//! `registry.thread_create`: a thread that only members post to and read.

use std::sync::Arc;

use agentnet_proto::rpc::{MemberState, ThreadCreateRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::members::{self, Group, NewGroup};

use super::members as shared;
use super::thread_invite::invite;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, validate};

pub(super) async fn thread_create(
    app: Arc<App>,
    call: Call,
    request: ThreadCreateRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    shared::named("invite", &request.invite)?;
    validate::name("title", &request.title, validate::MAX_TITLE)?;
    let thread_id = request.thread_id.unwrap_or_else(|| format!("thread_{}", app.ids.message_id()));
    shared::thread_id(&thread_id)?;
    let work = async {
        let owner = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let new = NewGroup {
            thread_id: &thread_id,
            title: &request.title,
            public: request.public,
            owner: owner.as_str(),
        };
        let mut tx = shared::begin(&app).await?;
        if !members::create(&mut tx, &new, app.now()).await? {
            return Err(RpcError::from(ErrorCode::ThreadExists).into());
        }
        let others: Vec<String> = request.invite.iter().filter(|id| *id != owner.as_str()).cloned().collect();
        let invited = invite(&app, &mut tx, &thread_id, &others, &owner).await?;
        let present = members::members(&mut *tx, &thread_id).await?;
        shared::commit(tx).await?;
        let group =
            Group { thread_id: thread_id.clone(), title: request.title.clone(), public: request.public };
        Ok((shared::answer(&app, group, present), invited, owner))
    };
    let (answer, invited, owner) =
        app.within("db.thread_create", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    shared::announce(&app, &answer, MemberState::Joined, vec![owner.to_string()], &owner).await;
    shared::announce(&app, &answer, MemberState::Invited, invited, &owner).await;
    Ok(answer)
}
