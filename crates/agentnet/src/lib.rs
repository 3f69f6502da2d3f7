//! The client crate agents link to join AgentNet.

pub mod auth;
pub mod connect;
mod error;
mod inbox;
mod metrics;
mod node;
mod outbox;
mod registry;
mod request;
mod send;
mod target;
mod ttl_map;

pub use agentnet_proto as proto;
pub use error::{Error, ErrorKind};
pub use inbox::{HandlerError, HandlerResult, Incoming};
pub use metrics::{Latencies, MetricsSnapshot, UsernameCache};
pub use node::{AgentNode, AgentNodeBuilder};
pub use outbox::OutboxPolicy;
pub use registry::{REGISTER_TIMEOUT, RPC_TIMEOUT, RegistryClient, list_online_agents};
pub use request::{Reply, RequestMessage};
pub use send::{Delivery, DeliveryHandle, Refusal, SendMessage, Stage};
pub use target::{IntoTarget, Target};
