//! The client crate agents link to join AgentNet.

pub mod connect;
mod error;
mod registry;
mod target;

pub use agentnet_proto as proto;
pub use error::{Error, ErrorKind};
pub use registry::{REGISTER_TIMEOUT, RPC_TIMEOUT, RegistryClient, list_online_agents};
pub use target::{IntoTarget, Target};
