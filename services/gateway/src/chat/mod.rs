//! The chat server of the seed: a WebSocket per client, sessions by name, everybody in a session hears everything. Thin: the
//! client crate's [`ChatManager`](agentnet::ChatManager) is what works.

mod history;
mod socket;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use history::{ChatHistory, NewChatMessage};
pub(crate) use socket::{ChatFrame, open};

use crate::app::App;

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(socket::chat))
        .routes(routes!(history::list, history::say))
        .routes(routes!(history::one, history::delete))
}
