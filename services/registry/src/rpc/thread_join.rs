//! `registry.thread_join`: an invited account comes in, or any account where the thread is public. What was said since its
//! invitation is delivered to it.

use std::sync::Arc;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{ThreadChange, ThreadJoinRequest, ThreadMembersResponse};
use agentnet_store::members::{self, Joined};

use super::members::{self as shared, Change, Changing, May};
use crate::app::{App, Failed};
use crate::caller::Call;

pub(super) async fn thread_join(
    app: Arc<App>,
    call: Call,
    request: ThreadJoinRequest,
) -> Result<ThreadMembersResponse, RpcError> {
    let changing = Changing {
        operation: "db.thread_join",
        may: May::Anyone,
        thread_id: &request.thread_id,
        account_id: request.account_id.as_deref(),
    };
    let mut replayed = None;
    let answer = shared::change(&app, &call, changing, async |tx, locked| {
        let (account, max) = (locked.by.as_str(), app.config.thread_members_max);
        let joined = members::join(tx, &locked.group, account, max, app.now()).await?;
        match joined {
            // As if there were no such thread.
            Joined::Refused => return Err(Failed::NotFound),
            Joined::Before => return Ok(Change::of(ThreadChange::Joined, Vec::new())),
            Joined::Now => locked.check_open()?,
            Joined::TooMany => {
                locked.check_open()?;
                return Err(shared::full(&app).into());
            }
        }
        if members::replay(tx, &request.thread_id, account).await? > 0 {
            replayed = Some(account.to_owned());
        }
        Ok(Change::of(ThreadChange::Joined, vec![account.to_owned()]))
    })
    .await?;
    app.presence.wake(replayed);
    Ok(answer)
}
