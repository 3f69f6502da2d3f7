//! The search over messages.

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    caller::Caller,
    http::{Problem, Query},
    rates::Class,
};

/// Filters of the search.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Words that all occur in the payload, in any case.
    q: Option<String>,
    /// Only this thread.
    thread_id: Option<String>,
    /// Only from this account.
    from_account_id: Option<String>,
    /// Only to this account.
    to_account_id: Option<String>,
    /// Only of this kind.
    kind: Option<String>,
    /// Sent at or after, ISO 8601.
    from_ts: Option<String>,
    /// Sent at or before, ISO 8601.
    to_ts: Option<String>,
    /// At most this many, 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Messages by filters and text, newest first
#[utoipa::path(get, path = "/api/messages/search", tag = "network", params(Filters),
    responses((status = 200, body = ref("#/components/schemas/MessageSearchResponse"))))]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Caller,
    Query(filters): Query<Filters>,
) -> Result<Json<rpc::MessageSearchResponse>, Problem> {
    caller.pass(&app, Class::Read)?;
    let request = rpc::MessageSearchRequest {
        q: filters.q,
        thread_id: filters.thread_id,
        from_account_id: filters.from_account_id,
        to_account_id: filters.to_account_id,
        kind: filters.kind,
        from_ts: filters.from_ts,
        to_ts: filters.to_ts,
        limit: filters.limit.map(i64::from),
        cursor: filters.cursor,
    };
    Ok(Json(caller.seat.node.registry().message_search(&request).await?))
}
