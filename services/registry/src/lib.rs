//! The registry: accounts, keys, sessions and presence, discovery, and the queries over stored history.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | everything the environment can say |
//! | `rpc` | one file per method, and the two presence publishes |
//! | [`presence`] | who is online, in memory, on every replica |
//! | [`flush`] | writes presence to Postgres in batches |
//! | [`gc`] | ends stale sessions, prunes what is old |
//! | [`redelivery`] | delivers again what nobody finished, ends what nobody will |
//! | [`events`] | tells other replicas and gateways what changed, and hears it |
//! | [`callout`] | who may connect to NATS in secure mode, and what they may do there |
//! | [`blobs`] | files in the object store: chunks in and out, quotas, what is removed |
//! | [`tasks`] | gives tasks to workers, and notices when nothing comes of it |
//! | `users` | passwords, logins, access tokens, session keys |
//! | [`cache`] | bounded memory of accounts, usernames and keys |
//!
//! A binary runs [`Registry`] through `agentnet_service::service::main`; a process that hosts several services
//! through `agentnet_service::service::start`. Replicas share Postgres and a queue group, and need no leader.
//!
//! # How do I add one more RPC?
//!
//! Add the method and its types to `agentnet_proto::rpc`, a file with `async fn(Arc<App>, Call, Request) ->
//! Result<Response, RpcError>` here in `rpc/`, and a line in `rpc/mod.rs`.

mod access;
mod app;
pub mod blobs;
pub mod cache;
mod caller;
pub mod callout;
pub mod config;
pub mod enrolment;
pub mod events;
pub mod flush;
pub mod gc;
pub mod presence;
pub mod redelivery;
mod restricted;
mod rpc;
mod service;
mod signed;
mod statuses;
mod suspended;
pub mod tasks;
mod users;
mod validate;

pub use config::Config;
pub use service::{Handle, Registry, RegistryError};
pub use users::{GatewayError, PasswordCost};
