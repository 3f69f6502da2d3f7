//! `registry.thread_status`: one thread's counters.

use std::sync::Arc;

use agentnet_proto::rpc::{THREAD_MANAGEMENT_OWNER, ThreadRow, ThreadStatusRequest, ThreadStatusResponse};
use agentnet_proto::{ErrorCode, RpcError, Timestamp};
use agentnet_store::threads::{self, Thread};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn thread_status(
    app: Arc<App>,
    call: Call,
    request: ThreadStatusRequest,
) -> Result<ThreadStatusResponse, RpcError> {
    super::required(&request.thread_id, ErrorCode::ThreadIdRequired)?;
    validate::query("thread_id", &request.thread_id)?;
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        threads::by_id(app.store.pool(), &request.thread_id, &reader).await?.ok_or(Failed::NotFound)
    };
    let thread = app.within("db.thread_status", QUERY_DEADLINE, ErrorCode::ThreadStatusFailed, work).await?;
    Ok(ThreadStatusResponse {
        thread: row(&thread),
        token_estimate_chars_per_token: app.config.chars_per_token,
        thread_management_owner: THREAD_MANAGEMENT_OWNER.to_owned(),
        generated_at: app.now().to_string(),
    })
}

pub(super) fn row(thread: &Thread) -> ThreadRow {
    ThreadRow {
        thread_id: thread.thread_id.clone(),
        created_by_account_id: thread.created_by_account_id.clone(),
        participants: thread.participants.clone(),
        created_at: thread.created_at.to_string(),
        updated_at: thread.updated_at.to_string(),
        message_count: thread.message_count,
        byte_count: thread.byte_count,
        approx_tokens: thread.approx_tokens,
        latest_checkpoint_end: thread.latest_checkpoint_end,
        pending_raw_messages: thread.pending_raw_messages,
        last_message_at: thread.last_message_at.as_ref().map(Timestamp::to_string),
        status: "ok".to_owned(),
        access: thread.has_members.then(|| "members".to_owned()),
        partial: thread.is_partial,
        pending_messages: thread.pending_raw_messages,
    }
}
