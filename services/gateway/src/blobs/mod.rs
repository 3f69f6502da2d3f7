//! Files of the network over HTTP. Thin: each route is one operation of the client crate's
//! [`Blobs`](agentnet::Blobs), and the bytes pass through without being held.

mod get;
mod list;
mod put;
mod range;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use put::{Coming, upload};

use crate::app::App;

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, put::post))
        .routes(routes!(put::put))
        .routes(routes!(get::get, list::delete))
}
