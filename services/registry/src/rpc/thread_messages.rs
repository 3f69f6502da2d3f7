//! `registry.thread_messages`: one thread's messages, newest first.

use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::rpc::{ThreadMessagesRequest, ThreadMessagesResponse, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::messages::{self, MessageFilter};

use super::message_rows::rows;
use super::via;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn thread_messages(
    app: Arc<App>,
    call: Call,
    request: ThreadMessagesRequest,
) -> Result<ThreadMessagesResponse, RpcError> {
    super::required(&request.thread_id, ErrorCode::ThreadIdRequired)?;
    validate::query("thread_id", &request.thread_id)?;
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    let budget = app.row_budget();
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        let filter = MessageFilter { thread_id: Some(&request.thread_id), ..MessageFilter::of(&reader) };
        let page = messages::page(app.store.pool(), &filter, after.as_ref(), limit, budget).await?;
        let vias = via::of(&app, &page.messages).await?;
        Ok((page, vias))
    };
    let (page, vias) =
        app.within("db.thread_messages", QUERY_DEADLINE, ErrorCode::ThreadMessagesFailed, work).await?;
    let rows = rows(page, &vias, budget);
    Ok(ThreadMessagesResponse {
        thread_id: request.thread_id,
        limit,
        cursor: request.cursor,
        next_cursor: rows.next_cursor,
        messages: rows.messages,
        generated_at: app.now().to_string(),
    })
}
