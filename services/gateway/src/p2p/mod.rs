//! The P2P module of the seed: an agent is asked by its name, over HTTP or over one WebSocket for many questions at once. Each
//! is a request on the network; what the agent answers is its reply.

mod ask;
mod http;
mod socket;
mod upload;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use ask::P2pAnswer;
pub(crate) use socket::{P2pFrame, P2pReply, open};

use crate::app::App;

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(http::api))
        .routes(routes!(http::estimate))
        .routes(routes!(http::own_api))
        .routes(routes!(http::own_estimate))
        .routes(routes!(socket::chat))
}
