//! Names, subjects and limits of what is served.

use std::time::Duration;

/// A request/reply method: one name, one set of limits, one or more subjects.
#[derive(Clone, Debug)]
pub struct Method {
    pub(super) name: String,
    pub(super) subjects: Vec<String>,
    pub(super) queue: Option<String>,
    pub(super) deadline: Option<Duration>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) max_body_bytes: Option<usize>,
}

impl Method {
    /// A method that answers on `subject`, which may hold wildcards.
    pub fn new(name: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subjects: vec![subject.into()],
            queue: None,
            deadline: None,
            max_in_flight: None,
            max_body_bytes: None,
        }
    }

    /// One more subject, sharing handler, limits and metrics.
    #[must_use]
    pub fn also_on(mut self, subject: impl Into<String>) -> Self {
        self.subjects.push(subject.into());
        self
    }

    /// Queue group: one replica answers each request.
    #[must_use]
    pub fn queue(mut self, group: impl Into<String>) -> Self {
        self.queue = Some(group.into());
        self
    }

    /// Deadline of a call, instead of the server's.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Calls running at once, instead of the server's limit.
    #[must_use]
    pub fn max_in_flight(mut self, limit: usize) -> Self {
        self.max_in_flight = Some(limit);
        self
    }

    /// Largest request body in bytes, instead of the server's limit.
    #[must_use]
    pub fn max_body_bytes(mut self, limit: usize) -> Self {
        self.max_body_bytes = Some(limit);
        self
    }
}

/// A publish subscription: messages without an answer, handled in order.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) queue: Option<String>,
    pub(super) deadline: Option<Duration>,
}

impl Topic {
    /// Messages on `subject`, which may hold wildcards. Without a queue group every replica gets each.
    pub fn new(name: impl Into<String>, subject: impl Into<String>) -> Self {
        Self { name: name.into(), subject: subject.into(), queue: None, deadline: None }
    }

    /// Queue group: one replica gets each message.
    #[must_use]
    pub fn queue(mut self, group: impl Into<String>) -> Self {
        self.queue = Some(group.into());
        self
    }

    /// Deadline of one message, instead of the server's. Later messages wait for it.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}
