//! One request and its reply: what `request` and `chat` share.

use std::time::Duration;

use agentnet::{
    AgentNode, ErrorKind, Target,
    proto::{Envelope, Payload},
};

use crate::failure::Failure;

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Whom.
    pub target: &'a Target,
    /// The same for people.
    pub who: &'a str,
    /// What.
    pub payload: &'a Payload,
    /// Thread to ask in; a new one unless given.
    pub thread: Option<&'a str>,
    /// Message that the request follows.
    pub parent: Option<&'a str>,
    /// Requests with the same key are one operation.
    pub idempotency_key: Option<&'a str>,
    /// How long the reply may take.
    pub timeout: Duration,
}

/// Asks, and waits for the reply.
///
/// # Errors
/// [`Failure::RequestTimeout`] when no reply came in time; what the agent or the network refused otherwise.
pub async fn ask(node: &AgentNode, question: Question<'_>) -> Result<Envelope, Failure> {
    let mut request = node.request(question.target, question.payload).timeout(question.timeout);
    if let Some(thread) = question.thread {
        request = request.thread(thread);
    }
    if let Some(parent) = question.parent {
        request = request.parent(parent);
    }
    if let Some(key) = question.idempotency_key {
        request = request.idempotency_key(key);
    }
    match request.await {
        Ok(reply) => Ok(reply.into_envelope()),
        Err(error) if error.kind() == ErrorKind::Timeout => {
            Err(Failure::RequestTimeout { detail: format!("{}: {}", question.who, error.detail()) })
        }
        Err(error) => Err(error.into()),
    }
}
