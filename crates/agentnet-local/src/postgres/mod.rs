//! A private Postgres.

pub(crate) mod admin;
mod initdb;
mod options;
mod ready;
mod server;

pub use options::{PgOptions, StopMode};
pub(crate) use ready::answers;
pub use server::PostgresServer;
pub(crate) use server::{connect_options, url};

/// The superuser that owns everything.
pub(crate) const SUPERUSER: &str = "agentnet";
