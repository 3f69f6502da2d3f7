//! Who is there.

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
pub(crate) struct Online {
    /// Only sessions with exactly this capability.
    capability: Option<String>,
    /// Only sessions that are `online` or `late`.
    status: Option<String>,
    /// Only sessions of this account.
    account_id: Option<String>,
    /// Only sessions with a system of their own of this type, such as `p2p-system`.
    sub_system_type: Option<String>,
    /// At most this many, 1 to 10,000.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Sessions online
#[utoipa::path(get, path = "/api/agents/online", tag = "network", params(Online),
    responses((status = 200, body = ref("#/components/schemas/ListResponse"))))]
pub(crate) async fn online(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Online>,
) -> Result<Json<rpc::ListResponse>, Problem> {
    let request = rpc::ListRequest {
        capability: query.capability,
        status: query.status,
        account_id: query.account_id,
        sub_system_type: query.sub_system_type,
        limit: query.limit.map(i64::from),
        cursor: query.cursor,
    };
    ask::<rpc::List>(&app, &caller, &request).await
}

/// Filters of the search.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Search {
    /// Part of a username or display name, in any case.
    #[serde(alias = "q")]
    query: String,
    /// Only accounts with exactly this capability.
    capability: Option<String>,
    /// Only accounts with a system of their own of this type, such as `p2p-system`.
    sub_system_type: Option<String>,
    /// At most this many, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Only accounts with a session online.
    online_only: bool,
    /// Only accounts of this status, or that are `online` or `offline`.
    status: Option<String>,
}

/// Accounts by name, capability and status
#[utoipa::path(get, path = "/api/agents/search", tag = "network", params(Search),
    responses((status = 200, body = ref("#/components/schemas/SearchResponse"))))]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Search>,
) -> Result<Json<rpc::SearchResponse>, Problem> {
    let request = rpc::SearchRequest {
        query: query.query,
        capability: query.capability,
        sub_system_type: query.sub_system_type,
        limit: query.limit.map(i64::from),
        online_only: query.online_only,
        status: query.status,
    };
    ask::<rpc::Search>(&app, &caller, &request).await
}

/// One account with its sessions
#[utoipa::path(get, path = "/api/agents/{username}/profile", tag = "network",
    params(("username" = String, Path, description = "Its username, or its account id.")),
    responses((status = 200, body = ref("#/components/schemas/ProfileResponse"))))]
pub(crate) async fn profile(
    State(app): State<App>,
    caller: Caller,
    Parts(name): Parts<String>,
) -> Result<Json<rpc::ProfileResponse>, Problem> {
    let request = if name.starts_with("acct_") {
        rpc::ProfileRequest { account_id: Some(name), username: None }
    } else {
        rpc::ProfileRequest { account_id: None, username: Some(name) }
    };
    ask::<rpc::GetProfile>(&app, &caller, &request).await
}
