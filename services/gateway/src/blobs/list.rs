//! Which files there are, and removing one.

use agentnet_proto::rpc;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    caller::Caller,
    http::{Parts, Problem, Query},
    rates::Class,
};

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

/// The account's files, the latest first, with what they take of its quota
#[utoipa::path(get, path = "/api/blobs", tag = "blobs", params(Page),
    responses((status = 200, body = ref("#/components/schemas/BlobListResponse"))))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<rpc::BlobListResponse>, Problem> {
    caller.pass(&app, Class::Read)?;
    Ok(Json(caller.seat.node.blobs().list(page.limit.map(i64::from), page.cursor).await?))
}

/// Remove a file
///
/// References to it lead nowhere then. Only its owner may.
#[utoipa::path(delete, path = "/api/blobs/{blob_id}", tag = "blobs",
    params(("blob_id" = String, Path, description = "The file.")),
    responses((status = 200, body = ref("#/components/schemas/BlobDeleteResponse"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Parts(blob_id): Parts<String>,
) -> Result<Json<rpc::BlobDeleteResponse>, Problem> {
    caller.pass(&app, Class::Message)?;
    let deleted = caller.seat.node.blobs().delete(&blob_id).await?;
    Ok(Json(rpc::BlobDeleteResponse { deleted }))
}
