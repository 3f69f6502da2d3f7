//! Real servers for tests.
//!
//! ```no_run
//! # async fn test() {
//! use agentnet_local::testing::{TestDb, TestNats, eventually};
//! use std::time::Duration;
//!
//! let nats = TestNats::start(); // a private nats-server with JetStream
//! let db = TestDb::create().await; // an empty database in the Postgres that all tests of this run share
//! connect_somehow(&nats.url(), db.url());
//! eventually(Duration::from_secs(5), || async { is_ready().await }).await;
//! # }
//! # fn connect_somehow(_: &str, _: &str) {}
//! # async fn is_ready() -> bool { true }
//! ```
//!
//! These panic when they cannot deliver, with the reason: a test cannot go on without its servers.

mod cluster;
mod db;
mod eventually;
mod logged;
mod nats;

pub use db::TestDb;
pub use eventually::{Outcome, eventually};
pub use logged::logged;
pub use nats::{TEST_TOKEN, TestNats};
