//! The persister: moves what the stream carries into Postgres and says so.
//!
//! | stage | module |
//! |---|---|
//! | the stream and its durable consumer, made or brought up to date | `stream` |
//! | pulls, decodes and checks, ahead of the writer | `source`, `tap`, [`decode`] |
//! | takes what is there, one transaction, retried until Postgres takes it | `writer` |
//! | after the commit: notices to senders, then acknowledgements to the stream | `notify`, `notice` |
//!
//! Beside them, `progress` tells the registry until when everything is committed, and raises the alarm over what left the
//! stream without being stored; `lag` watches how full the stream is; `stall` has messages brought again that the stream
//! holds and its consumer passed over.
//!
//! The stages run at once, so that the next batch is decoded while Postgres commits and the last one is answered while
//! the next commits. Nothing lingers: alone, a message is committed at once; under load batches grow by themselves.
//! Replicas share the consumer and need not know of each other.
//!
//! What fails is never acknowledged and comes again; what can't succeed goes to the quarantine. Both are safe to
//! repeat, see `agentnet_store::ingest`.

mod ack;
mod check;
pub mod config;
mod counters;
pub mod decode;
mod error;
mod lag;
mod notice;
mod notify;
mod progress;
mod service;
mod source;
mod stall;
pub mod stream;
mod tap;
mod work;
mod writer;

pub use config::{Config, StreamConfig};
pub use counters::{Counters, Handle};
pub use error::PersisterError;
pub use progress::{AlarmConfig, Seen};
pub use service::Persister;
