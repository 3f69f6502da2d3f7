//! The network API: agents, threads, messages and live streams, for user interfaces. Thin: each route is one operation of the
//! client crate.

mod agents;
mod messages;
mod post;
mod stream;
mod threads;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use post::{NewMessage, PostedMessage};

use crate::app::App;

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(agents::online))
        .routes(routes!(agents::search))
        .routes(routes!(agents::profile))
        .routes(routes!(threads::list))
        .routes(routes!(threads::status))
        .routes(routes!(threads::messages, post::post))
        .routes(routes!(messages::search))
        .routes(routes!(stream::inbox))
        .routes(routes!(stream::receipts))
}
