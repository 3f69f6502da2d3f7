//! `registry.thread_read`: how far a member has read.

use std::sync::Arc;

use agentnet_proto::rpc::{ThreadReadRequest, ThreadReadResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::conversations::{self, Read};

use super::members as shared;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, validate};

pub(super) async fn thread_read(
    app: Arc<App>,
    call: Call,
    request: ThreadReadRequest,
) -> Result<ThreadReadResponse, RpcError> {
    shared::thread_id(&request.thread_id)?;
    validate::queries(&[("up_to", &request.up_to)])?;
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
        let (thread, up_to) = (request.thread_id.as_str(), request.up_to.as_deref());
        match conversations::read(&mut db, thread, account.as_str(), up_to, app.now()).await? {
            Read::Unread(unread) => Ok(unread),
            Read::NotAMember => Err(Failed::NotFound),
            Read::UnknownMessage => {
                let detail = "up_to names no message of this thread";
                Err(RpcError::with_detail(ErrorCode::NotFound, detail).into())
            }
        }
    };
    let unread = app.within("db.thread_read", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    Ok(ThreadReadResponse { thread_id: request.thread_id, unread, generated_at: app.now().to_string() })
}
