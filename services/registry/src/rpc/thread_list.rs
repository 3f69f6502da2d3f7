//! `registry.thread_list`: threads by id or participant, latest activity first.

use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::rpc::{THREAD_MANAGEMENT_OWNER, ThreadListRequest, ThreadListResponse, clamp_limit};
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::threads::{self, Thread, ThreadFilter};

use super::fit::fit;
use super::thread_status::row;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::cache::Miss;
use crate::caller::Call;
use crate::validate;

pub(super) async fn thread_list(
    app: Arc<App>,
    call: Call,
    request: ThreadListRequest,
) -> Result<ThreadListResponse, RpcError> {
    validate::query("query", &request.query)?;
    validate::queries(&[
        ("participant_account_id", &request.participant_account_id),
        ("participant_username", &request.participant_username),
    ])?;
    let limit = clamp_limit(request.limit, 20, 100);
    let work = find(&app, &call, &request, limit);
    let found = app.within("db.thread_list", QUERY_DEADLINE, ErrorCode::ThreadListFailed, work).await?;
    let Some((participant, mut threads)) = found else {
        return Ok(nobodys(&app, request, limit));
    };
    let fetched = threads.len();
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    threads.truncate(wanted);
    let mut results: Vec<_> = threads.iter().map(row).collect();
    let cut = fit(&mut results, app.row_budget());
    let next_cursor = (cut || fetched > wanted)
        .then(|| results.len().checked_sub(1).and_then(|last| threads.get(last)).map(cursor_of))
        .flatten();
    Ok(ThreadListResponse {
        query: request.query,
        limit,
        participant_account_id: participant,
        participant_username: request.participant_username,
        token_estimate_chars_per_token: Some(app.config.chars_per_token),
        thread_management_owner: Some(THREAD_MANAGEMENT_OWNER.to_owned()),
        results,
        next_cursor,
        generated_at: app.now().to_string(),
    })
}

/// `None` when the username is nobody's.
async fn find(
    app: &App,
    call: &Call,
    request: &ThreadListRequest,
    limit: i64,
) -> Result<Option<(Option<String>, Vec<Thread>)>, Failed> {
    let participant = match (&request.participant_account_id, &request.participant_username) {
        (Some(id), _) => Some(id.clone()),
        (None, None) => None,
        (None, Some(name)) => match app.caches.id_of_username(&app.store, &normalize_username(name)).await {
            Ok(id) => Some(id.to_string()),
            Err(Miss::NotFound) => return Ok(None),
            Err(failed) => return Err(failed.into()),
        },
    };
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    let filter = ThreadFilter {
        query: &request.query,
        participant: participant.as_deref(),
        reader: &access::reader(app, &call.caller).await?,
        after: after.as_ref().map(|cursor| (cursor.sent_at, cursor.message_id.as_str())),
        limit: limit + 1,
    };
    let threads = threads::list(app.store.pool(), &filter).await?;
    Ok(Some((participant, threads)))
}

/// The original's answer about a username that nobody has.
fn nobodys(app: &App, request: ThreadListRequest, limit: i64) -> ThreadListResponse {
    ThreadListResponse {
        query: request.query,
        limit,
        participant_account_id: None,
        participant_username: request.participant_username,
        token_estimate_chars_per_token: None,
        thread_management_owner: None,
        results: Vec::new(),
        next_cursor: None,
        generated_at: app.now().to_string(),
    }
}

/// The same shape as a message cursor: an instant, and an id that orders what shares it.
fn cursor_of(thread: &Thread) -> String {
    MessageCursor { sent_at: thread.activity(), message_id: thread.thread_id.clone() }.encode()
}
