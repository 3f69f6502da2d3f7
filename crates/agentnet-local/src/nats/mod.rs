//! A private nats-server.

mod config;
mod ready;
mod server;

pub use config::{NatsOptions, SyncInterval};
pub use server::NatsServer;
