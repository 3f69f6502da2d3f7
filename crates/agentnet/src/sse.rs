//! Answers of language models as they stream them: server-sent events in OpenAI's form.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use eventsource_stream::{EventStreamError, Eventsource as _};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;

/// Largest event, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// What the last event's data is.
const DONE: &str = "[DONE]";

/// Why a model's answer broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// The bytes stopped coming.
    #[error("the connection to the model failed")]
    Source(#[source] Box<dyn StdError + Send + Sync>),
    /// They aren't server-sent events in UTF-8.
    #[error("the model's answer is no stream of events: {0}")]
    NotEvents(String),
    /// An event's data is no chunk of an answer.
    #[error("an event of the model's answer can't be read")]
    NotAChunk(#[source] serde_json::Error),
    /// An event is larger than a megabyte.
    #[error("an event of the model's answer is larger than {MAX_EVENT_BYTES} bytes")]
    TooLarge,
    /// The model says that it failed.
    #[error("the model failed: {0}")]
    Model(String),
    /// It ended before the model said that it is complete.
    #[error("the model's answer broke off")]
    Incomplete,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

/// The text deltas of a streamed chat completion: the `choices[0].delta.content` of every `data:` line, until `[DONE]`.
/// Takes the body of the response in whatever pieces it comes, and gives what
/// [`send_stream`](crate::AgentNode::send_stream) and [`reply_stream`](crate::Incoming::reply_stream) take.
///
/// ```
/// # async fn example() -> Result<(), agentnet::sse::SseError> {
/// use agentnet::sse::openai_deltas;
/// use futures_util::{TryStreamExt as _, stream};
///
/// let body = [r#"data: {"choices":[{"delta":{"content":"Sun"}}]}"#, "\n\ndata: ", "[DONE]\n\n"];
/// let chunks = stream::iter(body.map(Ok::<_, std::io::Error>));
/// let text: String = openai_deltas(chunks).try_collect().await?;
/// assert_eq!(text, "Sun");
/// # Ok(())
/// # }
/// # futures_util::FutureExt::now_or_never(example()).unwrap().unwrap();
/// ```
///
/// # Errors
/// Each as the last item: [`SseError`].
pub fn openai_deltas<S, B, E>(chunks: S) -> impl Stream<Item = Result<String, SseError>>
where
    S: Stream<Item = Result<B, E>>,
    B: AsRef<[u8]>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let held = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&held);
    // The decoder keeps what it has of an event, however long that gets.
    let bounded = chunks.map(move |chunk| {
        let chunk = chunk.map_err(|error| SseError::Source(error.into()))?;
        let len = chunk.as_ref().len();
        let before = counted.fetch_add(len, Ordering::Relaxed);
        if before + len > MAX_EVENT_BYTES { Err(SseError::TooLarge) } else { Ok(chunk) }
    });
    let answer = Answer { events: Box::pin(bounded.eventsource()), held, is_finished: false };
    stream::unfold(Some(answer), |answer| async move {
        let mut answer = answer?;
        match answer.next().await {
            Some(Ok(delta)) => Some((Ok(delta), Some(answer))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    })
}

struct Answer<S> {
    events: S,
    /// Bytes since the last event.
    held: Arc<AtomicUsize>,
    /// Whether the model said why it stopped.
    is_finished: bool,
}

impl<S> Answer<S>
where
    S: Stream<Item = Result<eventsource_stream::Event, EventStreamError<SseError>>> + Unpin,
{
    async fn next(&mut self) -> Option<Result<String, SseError>> {
        loop {
            let event = match self.events.next().await {
                Some(Ok(event)) => event,
                Some(Err(EventStreamError::Transport(error))) => return Some(Err(error)),
                Some(Err(error)) => return Some(Err(SseError::NotEvents(error.to_string()))),
                None if self.is_finished => return None,
                None => return Some(Err(SseError::Incomplete)),
            };
            self.held.store(0, Ordering::Relaxed);
            if event.data.trim() == DONE {
                return None;
            }
            if event.event == "error" {
                return Some(Err(SseError::Model(event.data)));
            }
            let chunk: Chunk = match serde_json::from_str(&event.data) {
                Ok(chunk) => chunk,
                Err(error) => return Some(Err(SseError::NotAChunk(error))),
            };
            if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
                let message = error.get("message").and_then(serde_json::Value::as_str);
                return Some(Err(SseError::Model(message.map_or_else(|| error.to_string(), str::to_owned))));
            }
            // Figures at the end come without choices; other answers of several aren't this text.
            let Some(first) = chunk.choices.into_iter().find(|choice| choice.index == 0) else { continue };
            self.is_finished |= first.finish_reason.is_some();
            match first.delta.unwrap_or_default().content {
                Some(content) if !content.is_empty() => return Some(Ok(content)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
