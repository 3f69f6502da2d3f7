//! The chassis of a service: everything a process needs around its domain, and no domain words.
//!
//! | module | what it gives |
//! |---|---|
//! | [`config`] | typed reading of the environment, one section per concern |
//! | [`telemetry`] | logs to stderr, metrics recorder |
//! | [`nats`] | a connection that is bounded at start and heals itself for ever |
//! | [`rpc`] | request/reply and publish dispatch with limits, deadlines and answers to everything |
//! | [`stats`] | latency windows that an RPC can report |
//! | [`health`] | `/live`, `/ready`, `/metrics` |
//! | [`shutdown`] | stop intake, finish, flush, close |
//! | [`service`] | `Config` -> `build` -> `run` plus `Handle`, and the `main` of a service binary |
//!
//! # How do I add one more RPC?
//!
//! Write an `async fn(Ctx, Request) -> Result<Response, Error>`, wrap it in [`rpc::typed`] and give it to
//! [`rpc::RpcServerBuilder::method`]. The handler decodes nothing and times nothing: bodies that are not JSON
//! objects, full queues, panics and overruns are answered by the dispatcher with the bodies your
//! [`rpc::FaultMap`] supplies.

mod chain;
pub mod config;
pub mod health;
pub mod nats;
pub mod rpc;
pub mod service;
pub mod shutdown;
pub mod stats;
pub mod telemetry;

pub use async_nats;
pub use chain::chain;
pub use tokio_util::sync::CancellationToken;
