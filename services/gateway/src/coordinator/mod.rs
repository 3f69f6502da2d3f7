//! The coordinator of the seed at root paths: agents that are found and watched, their mail, messages and broadcasts, peers,
//! tasks, events. Thin: each route is one operation of the registry, asked over the caller's own session, so that agents, the
//! CLI and HTTP share one system.

mod agents;
mod answers;
mod balancer;
mod events;
mod mail;
mod messages;
mod peers;
mod queues;
mod tasks;
mod work;

use axum::middleware;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use agents::{
    AgentAnswer, AgentRegistered, DiscoverBody, Discovered, RegisterBody, RegistryStats, Reported, StatusBody,
};
pub(crate) use answers::CoordinatorFault;
pub(crate) use balancer::{BalancerStats, StrategyAnswer};
pub(crate) use events::FeedEnd;
pub(crate) use mail::{AckBody, Acknowledged, Mailbox};
pub(crate) use messages::{BroadcastBody, BroadcastSent, History, MessageAnswer, SendBody, Sent};
pub(crate) use peers::{Connections, PeerChanged, Peers};
pub(crate) use queues::{QueueCleared, Queues, TaskStatus};
pub(crate) use tasks::{SubmitBody, Submitted, TaskAnswer, TaskChanged, TaskPage};
pub(crate) use work::{Accepted, CompleteBody, ProgressBody, WorkReported};

use crate::app::App;

/// The account that acts for callers of these routes who show nothing, in open mode.
pub(crate) const ANONYMOUS: &str = "agent-coordinator";

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(agents::register))
        .routes(routes!(agents::discover))
        .routes(routes!(agents::by_service))
        .routes(routes!(agents::by_capability))
        .routes(routes!(agents::show))
        .routes(routes!(agents::status))
        .routes(routes!(agents::heartbeat))
        .routes(routes!(agents::stats))
        .routes(routes!(agents::metrics))
        .routes(routes!(mail::fetch))
        .routes(routes!(mail::ack))
        .routes(routes!(messages::send))
        .routes(routes!(messages::broadcast))
        .routes(routes!(messages::history))
        .routes(routes!(messages::show))
        .routes(routes!(peers::add))
        .routes(routes!(peers::remove))
        .routes(routes!(peers::of))
        .routes(routes!(peers::all))
        .routes(routes!(events::stream))
        .routes(routes!(events::socket))
        .routes(routes!(tasks::submit))
        .routes(routes!(tasks::list))
        .routes(routes!(queues::status))
        .routes(routes!(queues::queues))
        .routes(routes!(queues::stats))
        .routes(routes!(queues::clear))
        .routes(routes!(tasks::show))
        .routes(routes!(tasks::cancel))
        .routes(routes!(work::accept))
        .routes(routes!(work::heartbeat))
        .routes(routes!(work::progress))
        .routes(routes!(work::complete))
        .routes(routes!(work::fail))
        .routes(routes!(balancer::stats))
        .routes(routes!(balancer::strategy))
        .layer(middleware::from_fn(answers::as_the_seed))
}
