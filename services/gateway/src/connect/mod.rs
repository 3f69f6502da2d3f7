//! The Agent-connect API: sessions between a person and an agent, or between two agents, and agents as its clients know them.
//!
//! A session is a thread. What it is stands in its first message, of kind `session`, from its owner to themselves; its end is
//! another one. So any gateway knows every session from the network, and none keeps any.

mod agents;
mod choose;
mod frame;
mod hosting;
mod providers;
mod record;
mod registered;
mod relay;
mod say;
mod sessions;
mod socket;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use agents::{AgentCapabilities, AgentList, AgentStatus};
pub(crate) use frame::WebSocketMessage;
pub(crate) use providers::Providers;
pub(crate) use registered::{AgentConfig, RegisteredAgent, UnregisteredAgent};
pub(crate) use say::{AgentMessageRequest, AgentMessageResponse};
pub(crate) use sessions::{CreateSessionRequest, DeleteSessionResponse, SessionResponse};

use crate::app::App;

/// Whether the gateway itself writes messages of the kind, as the account: nobody else's word counts for what they say.
pub(crate) fn is_reserved(kind: &str) -> bool {
    kind == record::KIND || kind == registered::KIND
}

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sessions::create))
        .routes(routes!(sessions::get, sessions::delete))
        .routes(routes!(providers::providers))
        .routes(routes!(socket::chat))
        .routes(routes!(agents::list))
        .routes(routes!(agents::status))
        .routes(routes!(agents::capabilities))
        .routes(routes!(registered::register))
        .routes(routes!(registered::unregister))
        .routes(routes!(say::say))
}
