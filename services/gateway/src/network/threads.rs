//! Threads and what was said in them.

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ask;
use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem, Query},
};

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Part of a thread id, in any case.
    query: String,
    /// Only threads that this account takes part in.
    participant_account_id: Option<String>,
    /// The same by username.
    participant_username: Option<String>,
    /// At most this many, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Threads, latest activity first
#[utoipa::path(get, path = "/api/threads", tag = "network", params(Filters),
    responses((status = 200, body = ref("#/components/schemas/ThreadListResponse"))))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(filters): Query<Filters>,
) -> Result<Json<rpc::ThreadListResponse>, Problem> {
    let request = rpc::ThreadListRequest {
        query: filters.query,
        limit: filters.limit.map(i64::from),
        participant_account_id: filters.participant_account_id,
        participant_username: filters.participant_username,
        cursor: filters.cursor,
    };
    ask::<rpc::ThreadList>(&app, &caller, &request).await
}

/// One thread's counters
#[utoipa::path(get, path = "/api/threads/{thread_id}/status", tag = "network",
    params(("thread_id" = String, Path, description = "The thread.")),
    responses((status = 200, body = ref("#/components/schemas/ThreadStatusResponse"))))]
pub(crate) async fn status(
    State(app): State<App>,
    caller: Caller,
    Parts(thread_id): Parts<String>,
) -> Result<Json<rpc::ThreadStatusResponse>, Problem> {
    ask::<rpc::ThreadStatus>(&app, &caller, &rpc::ThreadStatusRequest { thread_id }).await
}

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// At most this many, 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of a thread, newest first
#[utoipa::path(get, path = "/api/threads/{thread_id}/messages", tag = "network",
    params(("thread_id" = String, Path, description = "The thread."), Page),
    responses((status = 200, body = ref("#/components/schemas/ThreadMessagesResponse"))))]
pub(crate) async fn messages(
    State(app): State<App>,
    caller: Caller,
    Parts(thread_id): Parts<String>,
    Query(page): Query<Page>,
) -> Result<Json<rpc::ThreadMessagesResponse>, Problem> {
    let request =
        rpc::ThreadMessagesRequest { thread_id, limit: page.limit.map(i64::from), cursor: page.cursor };
    ask::<rpc::ThreadMessages>(&app, &caller, &request).await
}
