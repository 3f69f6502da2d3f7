//! `agent_deliveries`, for the network's own work: delivering again, giving up, telling what happened.
//!
//! The persister writes rows and moves them by receipts (`crate::ingest`). What is here moves them by time: rows come
//! due, are leased to a session, are taken back when that session is gone, and end as expired or dead. Nothing is due
//! before the persisters have committed everything the stream took until then (`agentnet_committed_at()`), so that a
//! stalled Postgres never makes two sessions handle one message.
//!
//! Rows are locked with `SKIP LOCKED` throughout: replicas share the work, and nobody waits for the persister.

mod due;
mod end;
mod events;
mod figures;
mod lease;
mod owner;
mod read;
mod redrive;
mod why;

pub use self::due::{
    DueRecipient, due_recipients, make_due, park, resume_held_back, session_ended, with_open,
};
pub use self::end::{Ended, Overdue, expire, overdue};
pub(crate) use self::events::add as add_events;
pub use self::events::{DeliveryEvent, what};
pub use self::figures::{Waiting, oldest, waiting};
pub use self::lease::{Candidate, Decision, Granted, Leasing, Unwilling, Window, window};
pub use self::owner::{own, prune as prune_owners, release};
pub use self::read::{Delivery, DeliveryFilter, page};
pub use self::redrive::{Redrive, redrive};
pub use self::why::{Path, why};

use std::time::Duration;

/// Longest wait of a delivery for a recipient that isn't there. A hello ends it at once; this is for the hello that
/// nobody heard.
pub const LONGEST_PARKING: Duration = Duration::from_secs(3600);
/// How long a session has to accept what is delivered again. Doubles while nobody answers, up to 16 times.
pub const REDELIVERY_LEASE: Duration = Duration::from_secs(5);
