//! Postgres storage of AgentNet, through sqlx: one file per aggregate, plain functions on a connection.
//!
//! Used by the registry and the persister only (see `docs/adr/`): the persister writes messages and deliveries, the
//! registry accounts, keys and sessions; the registry reads everything, delivers again and prunes what is old. The
//! migrations are embedded and run by [`Store::migrate`].

pub mod access;
pub mod account_search;
pub mod accounts;
pub mod agents;
pub mod api_keys;
pub mod attempts;
pub mod blobs;
pub mod blocks;
pub mod capabilities;
pub mod connections;
pub mod conversations;
pub mod deliveries;
pub mod documents;
pub mod enrolment;
pub mod guests;
pub mod ingest;
pub mod keys;
pub mod logins;
pub mod members;
pub mod messages;
pub mod peers;
pub mod progress;
pub mod retention;
pub mod sessions;
pub mod standing;
pub mod status;
mod store;
pub mod tasks;
pub mod threads;
pub mod token_keys;
pub mod users;

pub use sqlx::PgConnection as Connection;

/// A transaction that outlives whoever began it.
pub type Transaction = sqlx::Transaction<'static, sqlx::Postgres>;
pub use store::{Store, StoreConfig, StoreError};
