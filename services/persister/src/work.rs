//! What travels through the stages.

use agentnet_proto::{ErrorCode, Timestamp};
use agentnet_store::ingest::{Item, Verdict};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    ack::Ack,
    decode::{Answer, Raw},
};

/// One decoded item with what is needed to finish it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) item: Item,
    pub(crate) meta: Meta,
    /// As it came, until its sender is proved.
    pub(crate) raw: Option<Raw>,
}

/// What is left to do after the commit.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Whom to tell.
    pub(crate) answer: Option<Answer>,
    /// How to acknowledge; `None` for what the tap heard.
    pub(crate) ack: Option<Ack>,
    /// Where it was published.
    pub(crate) subject: String,
    /// Its place in the stream.
    pub(crate) stream_seq: Option<u64>,
    /// Which incarnation of the stream that is in.
    pub(crate) stream_created: Option<Timestamp>,
    /// Its share of the memory for bodies, given back when all is done.
    pub(crate) _memory: OwnedSemaphorePermit,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As the store says.
    Written(Verdict),
    /// Postgres refused its content; it is in quarantine.
    Refused { code: ErrorCode, detail: String },
}

/// A batch that is in the database.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) at: Timestamp,
    pub(crate) parts: Vec<(Meta, Outcome)>,
}
