//! The network API: agents, threads, messages and live streams, for user interfaces. Thin: each route is one operation of the
//! client crate.

mod agents;
mod messages;
mod post;
mod stream;
mod sub_systems;
mod threads;

use agentnet_proto::rpc::Rpc;
use axum::Json;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use post::{NewMessage, PostedMessage};
pub(crate) use sub_systems::SubSystems;

use crate::{app::App, caller::Caller, http::Problem, rates::Class};

/// What the registry answers the caller. Every reading route is this and its own fields.
async fn ask<R: Rpc>(app: &App, caller: &Caller, request: &R::Request) -> Result<Json<R::Response>, Problem> {
    caller.pass(app, Class::Read)?;
    Ok(Json(caller.seat.node.registry().call::<R>(request).await?))
}

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(agents::online))
        .routes(routes!(agents::search))
        .routes(routes!(agents::profile))
        .routes(routes!(sub_systems::find))
        .routes(routes!(threads::list))
        .routes(routes!(threads::status))
        .routes(routes!(threads::messages, post::post))
        .routes(routes!(messages::search))
        .routes(routes!(stream::inbox))
        .routes(routes!(stream::receipts))
}
