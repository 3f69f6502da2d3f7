//! Receiving: from a message on the wire to a handler's end, in the original's order, with its codes.

mod addressee;
mod admit;
mod guards;
mod incoming;
mod once;
mod queue;
mod receipts;
mod remembered;
mod reply;
mod worker;

use std::{error::Error as StdError, future::Future, pin::Pin, sync::Arc};

pub(crate) use admit::{Source, hex};
pub(crate) use guards::{GuardSettings, Guards, check_time};
pub use incoming::Incoming;
pub(crate) use queue::{Job, JobQueue, Untold};
pub(crate) use receipts::ReceiptBox;
pub(crate) use remembered::Remembered;
pub(crate) use worker::{panic_text, work};

/// What a handler may fail with; `?` turns any error into it.
pub type HandlerError = Box<dyn StdError + Send + Sync>;

/// What a handler returns.
pub type HandlerResult = Result<(), HandlerError>;

/// A handler as the node keeps it.
pub(crate) type Handler =
    Arc<dyn Fn(Incoming) -> Pin<Box<dyn Future<Output = HandlerResult> + Send>> + Send + Sync>;
