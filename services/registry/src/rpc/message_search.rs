//! `registry.message_search`: messages by filters and words, newest first.

use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::rpc::{MessageFilters, MessageSearchRequest, MessageSearchResponse, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError, Timestamp};
use agentnet_store::messages::{self, MessageFilter};

use super::message_rows::rows;
use super::via;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn message_search(
    app: Arc<App>,
    call: Call,
    request: MessageSearchRequest,
) -> Result<MessageSearchResponse, RpcError> {
    validate::queries(&[
        ("q", &request.q),
        ("thread_id", &request.thread_id),
        ("from_account_id", &request.from_account_id),
        ("to_account_id", &request.to_account_id),
        ("kind", &request.kind),
    ])?;
    let from = instant(request.from_ts.as_deref(), ErrorCode::FromTsInvalid)?;
    let to = instant(request.to_ts.as_deref(), ErrorCode::ToTsInvalid)?;
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    let budget = app.row_budget();
    let work = async {
        let filter = MessageFilter {
            message_id: None,
            reader: &access::reader(&app, &call.caller).await?,
            words: request.q.as_deref(),
            thread_id: request.thread_id.as_deref(),
            from_account_id: request.from_account_id.as_deref(),
            to_account_id: request.to_account_id.as_deref(),
            kind: request.kind.as_deref(),
            from,
            to,
        };
        let page = messages::page(app.store.pool(), &filter, after.as_ref(), limit, budget).await?;
        let vias = via::of(&app, &page.messages).await?;
        Ok((page, vias))
    };
    let (page, vias) =
        app.within("db.message_search", QUERY_DEADLINE, ErrorCode::MessageSearchFailed, work).await?;
    let rows = rows(page, &vias, budget);
    Ok(MessageSearchResponse {
        filters: MessageFilters {
            q: request.q,
            thread_id: request.thread_id,
            from_account_id: request.from_account_id,
            to_account_id: request.to_account_id,
            kind: request.kind,
            from_ts: request.from_ts,
            to_ts: request.to_ts,
        },
        limit,
        cursor: request.cursor,
        next_cursor: rows.next_cursor,
        messages: rows.messages,
        generated_at: app.now().to_string(),
    })
}

fn instant(text: Option<&str>, code: ErrorCode) -> Result<Option<Timestamp>, RpcError> {
    text.map(|text| Timestamp::parse(text).ok_or_else(|| code.into())).transpose()
}
