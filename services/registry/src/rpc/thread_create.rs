//! `registry.thread_create`: a thread that only members post to and read.

use std::sync::Arc;

use agentnet_proto::rpc::{ThreadChange, ThreadCreateRequest, ThreadMembersResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::members::{self, NewGroup};

use super::members::{self as shared, Change};
use super::thread_invite::invite;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn thread_create(
    app: Arc<App>,
    call: Call,
    request: ThreadCreateRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    shared::named("invite", &request.invite)?;
    shared::described(&request.title, &request.subject, Some(&request.metadata))?;
    let failed = StoreError::query("agent_thread_members.create");
    let thread_id = request.thread_id.unwrap_or_else(|| format!("thread_{}", app.ids.message_id()));
    shared::thread_id(&thread_id)?;
    let work = async {
        let owner = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let new = NewGroup {
            thread_id: &thread_id,
            title: &request.title,
            subject: &request.subject,
            public: request.public,
            metadata: &request.metadata,
            owner: owner.as_str(),
        };
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        if !members::create(&mut tx, &new, app.now()).await? {
            return Err(RpcError::from(ErrorCode::ThreadExists).into());
        }
        let others: Vec<String> = request.invite.iter().filter(|id| *id != owner.as_str()).cloned().collect();
        let invited = invite(&app, &mut tx, &thread_id, &others, &owner).await?;
        let group = members::group(&mut *tx, &thread_id).await?.ok_or(Failed::NotFound)?;
        let present = members::members(&mut *tx, &thread_id).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((shared::answer(&app, group, present), invited, owner))
    };
    let (answer, invited, owner) =
        app.within("db.thread_create", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    let made = Change::of(ThreadChange::Joined, vec![owner.to_string()]);
    shared::announce(&app, &answer, made, &owner).await;
    shared::announce(&app, &answer, Change::of(ThreadChange::Invited, invited), &owner).await;
    Ok(answer)
}
