//! What goes wrong outside a handler's own logic, and the bodies that answer it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// An error a handler may return: how it looks on the wire and in a metric.
pub trait ErrorReply: Send + 'static {
    /// The body that answers the request.
    fn body(&self) -> Bytes;

    /// Label of the error counter. From a fixed set, never made from input.
    fn code(&self) -> &'static str;
}

/// Failures the dispatcher answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body isn't JSON.
    MalformedJson {
        /// Parser's words, bounded in length.
        detail: String,
    },
    /// The body is JSON but not an object.
    NotAnObject,
    /// An object whose fields have the wrong types.
    InvalidFields {
        /// Parser's words, bounded in length.
        detail: String,
    },
    /// The body is larger than the method takes.
    TooLarge {
        /// Size of the body in bytes.
        size: usize,
        /// Largest size taken.
        limit: usize,
    },
    /// As many calls are running as the method allows. Retryable.
    Busy {
        /// The allowed number.
        limit: usize,
    },
    /// The handler ran into the method's deadline and was dropped. Retryable.
    Deadline {
        /// The deadline.
        after: Duration,
    },
    /// The handler panicked.
    Panicked,
    /// The process stopped before the handler finished. Retryable.
    ShuttingDown,
    /// The handler's answer couldn't be encoded.
    Unencodable {
        /// Encoder's words.
        detail: String,
    },
    /// The answer is larger than the server carries.
    ReplyTooLarge {
        /// Size of the answer in bytes.
        size: usize,
        /// Largest size carried.
        limit: usize,
    },
}

impl Fault {
    /// Stable label of the fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MalformedJson { .. } => "malformed_json",
            Self::NotAnObject => "not_an_object",
            Self::InvalidFields { .. } => "invalid_fields",
            Self::TooLarge { .. } => "too_large",
            Self::Busy { .. } => "busy",
            Self::Deadline { .. } => "deadline",
            Self::Panicked => "panicked",
            Self::ShuttingDown => "shutting_down",
            Self::Unencodable { .. } => "unencodable",
            Self::ReplyTooLarge { .. } => "reply_too_large",
        }
    }

    /// Whether the same request may succeed a moment later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Deadline { .. } | Self::ShuttingDown)
    }
}

/// Turns a fault of a method, given by name, into the domain's error.
pub type FaultMap<E> = Arc<dyn Fn(&str, Fault) -> E + Send + Sync>;
