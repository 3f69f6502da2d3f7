//! Finds or installs, and runs, a private nats-server and a private Postgres: for `agentnet up` and for every
//! test of the workspace.
//!
//! - [`Search`] resolves the binaries: override, PATH, usual directories, cache, package client.
//! - [`NatsServer`] and [`PostgresServer`] run them on loopback. Neither outlives this process, not even when it
//!   is killed: each runs under a small `sh` watchdog that stops it when the pipe to us closes.
//! - [`DataDir`] is what `agentnet up` keeps between runs: secrets, a lock, one directory per server.
//! - [`testing`] has a private nats-server per test, a database per test in one shared Postgres, and
//!   [`testing::eventually`].
//!
//! Everything that starts or stops a server blocks, within a deadline, and works with and without an async
//! runtime; long-running async programs call it through `spawn_blocking`. Unix only.
//!
//! To run one more kind of server: give it a `Server` variant and a version rule in `search`, wheels in
//! `search/wheels.rs`, and a module like `nats` that renders its configuration and knows when it is ready.

mod datadir;
mod error;
mod files;
mod lock;
mod nats;
mod ports;
mod postgres;
mod process;
mod search;
mod user;
mod watchdog;

pub mod testing;

pub use datadir::{DataDir, Secrets};
pub use error::{Error, Server};
pub use nats::{NatsOptions, NatsServer, SyncInterval};
pub use postgres::{PgOptions, PostgresServer, StopMode};
pub use search::{NatsBinary, Origin, PostgresBinaries, Search, Version, abandon_installs};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
