//! Sending: what a caller asks for, and what it may believe afterwards.

mod builder;
mod compose;
mod handle;
mod options;
mod publish;
mod route;

use std::fmt;

pub use builder::SendMessage;
pub(crate) use builder::{MIN_RECEIPT_TIMEOUT, payload_of};
pub(crate) use compose::{Composed, Draft, Place};
pub use handle::DeliveryHandle;
pub(crate) use options::draft_options;
pub(crate) use publish::{Extras, GIVE_UP, Patience};
pub(crate) use route::Route;

/// How far a message got. Later stages imply that the earlier ones were or will be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Committed in Postgres: the network keeps trying until the time to live is over.
    Stored,
    /// Admitted by a recipient: it will be handled.
    Accepted,
    /// The recipient's handler finished.
    Processed,
}

impl Stage {
    /// The stage as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Accepted => "accepted",
            Self::Processed => "processed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message wasn't accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A code of [`ErrorCode`](agentnet_proto::ErrorCode), or one of a newer version.
    pub code: String,
    /// The same for people; may be empty.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn of(code: &str, detail: &str) -> Self {
        Self { code: code.to_owned(), detail: detail.to_owned() }
    }
}

/// What is true about a message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message_id: String,
    /// The thread it went to.
    pub thread_id: String,
    /// How far it got; `None` only for [`SendMessage::no_ack`], which doesn't wait.
    pub stage: Option<Stage>,
    /// Whether the network confirmed that it stored the message.
    pub stored: bool,
    /// Why the recipient didn't take it yet (`busy`, `rate_limited`, ...), when it said so and the network keeps trying.
    pub refusal: Option<Refusal>,
    /// Of a message to a thread: how far it got with each member it is for, as far as they are known.
    pub members: Vec<MemberDelivery>,
}

/// How far a message to a thread got with one member. The network goes on until its time to live is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDelivery {
    /// The member.
    pub account_id: String,
    /// `None` while it has said nothing.
    pub stage: Option<Stage>,
    /// Why it didn't take the message; with `blocked` or another code that isn't temporary it never will.
    pub refusal: Option<Refusal>,
    /// Whether a session of it is online: known of those that said nothing when they were asked for.
    pub online: Option<bool>,
}

impl Delivery {
    /// Whether a recipient admitted the message.
    pub fn is_accepted(&self) -> bool {
        self.stage >= Some(Stage::Accepted)
    }

    /// Of a message to a thread: the members that aren't online. They get it when they come, within its time to live.
    pub fn offline_members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter(|m| m.online == Some(false)).map(|m| m.account_id.as_str())
    }
}
