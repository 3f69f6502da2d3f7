//! One request and its reply: what `request` and `chat` share.

use std::time::Duration;

use agentnet::{
    AgentNode, Error, ErrorKind, StreamReader, Target,
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

/// Asks, and waits for the reply. One that comes piece by piece is said as it comes.
///
/// # Errors
/// [`Failure::RequestTimeout`] when no reply came in time; what the agent or the network refused otherwise.
pub async fn ask(
    node: &AgentNode,
    question: Question<'_>,
    said: impl FnMut(String) -> Result<(), Failure>,
) -> Result<Envelope, Failure> {
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
    let failed = |error: Error| match error.kind() {
        ErrorKind::Timeout => {
            Failure::RequestTimeout { detail: format!("{}: {}", question.who, error.detail()) }
        }
        _ => error.into(),
    };
    read(request.streamed().await.map_err(failed)?, said, failed).await
}

async fn read(
    mut answer: StreamReader,
    mut said: impl FnMut(String) -> Result<(), Failure>,
    failed: impl Fn(Error) -> Failure,
) -> Result<Envelope, Failure> {
    while let Some(delta) = answer.next_delta().await {
        let delta = delta.map_err(&failed)?;
        // What is said at once is shown as the reply that it is.
        if answer.is_live() {
            said(delta)?;
        }
    }
    let whole = answer.finish().await.map_err(&failed)?;
    let reply =
        whole.reply.ok_or_else(|| Failure::local("internal", "the reply is missing".to_owned(), ""))?;
    Ok(reply.into_envelope())
}
