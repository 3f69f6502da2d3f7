//! Asking for a reply that is read while it is written.

use std::{
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentnet_proto::{ErrorCode, StreamFrame, stream::StreamEnd};
use serde::Serialize;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    StreamReader,
    following::{Following, Source},
    reader::Asked,
};
use crate::{
    error::{Error, ErrorKind},
    node::AgentNode,
    request::{Reply, RequestMessage},
    target::IntoTarget,
};

/// How long a streamed reply may take to begin unless set.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the frames of a stream may be behind the error reply that ends its request.
const GRACE: Duration = Duration::from_secs(1);

/// A request about to be sent, whose reply is read while it is written: `.await` for its [`StreamReader`].
///
/// An agent that doesn't stream its reply is understood, too: its text is then one delta.
///
/// # Errors
/// As [`RequestMessage`], for what is known before the first word.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct StreamRequest<'a>(RequestMessage<'a>);

impl AgentNode {
    /// Asks an account, a username or a capability, and reads the reply while it is written. It may take a
    /// minute to begin, or the [`RequestMessage::timeout`] that is set before [`RequestMessage::streamed`], and 10 minutes
    /// to end, or the node's [`stream_time`](crate::AgentNodeBuilder::stream_time).
    ///
    /// ```no_run
    /// # async fn example(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
    /// let mut answer = node.request_stream("@poet", serde_json::json!({"text": "a haiku"})).await?;
    /// while let Some(delta) = answer.next_delta().await {
    ///     print!("{}", delta?);
    /// }
    /// let whole = answer.finish().await?;
    /// assert_eq!(whole.reply.and_then(|reply| reply.text()), Some(whole.text));
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_stream<T: Serialize>(&self, target: impl IntoTarget, payload: T) -> StreamRequest<'_> {
        self.request(target, payload).timeout(TIMEOUT).streamed()
    }
}

impl<'a> RequestMessage<'a> {
    /// Reads the reply while it is written.
    pub fn streamed(self) -> StreamRequest<'a> {
        StreamRequest(self)
    }
}

impl StreamRequest<'_> {
    async fn run(self) -> Result<StreamReader, Error> {
        let node = self.0.node().clone();
        let inner = Arc::clone(&node.inner);
        inner.check_open()?;
        let (id, patience) = (inner.ids.nonce(), inner.streams.patience);
        let following = Following::new(&id, Source::Reply, None, patience, Instant::now());
        let Some(following) = inner.streams.reading.insert(following)? else {
            return Err(Error::new(ErrorKind::Duplicate, "a stream of that id is being read"));
        };
        inner.streams.wake.notify_one();
        let (answer, reply) = oneshot::channel();
        let asking = self.0.on_stream(Arc::clone(&following));
        let answered = Arc::clone(&following);
        let task = tokio::spawn(async move {
            let outcome = asking.ask(&node).await;
            settle(&answered, outcome.as_ref()).await;
            // The reader has gone meanwhile.
            let _ = answer.send(outcome);
        });
        let asked = Asked { reply, task: task.abort_handle() };
        let mut reader = StreamReader::new(inner, Arc::clone(&following), Some(asked));
        poll_fn(|cx| following.poll_begun(cx)).await;
        reader.failed_before_it_began().await?;
        Ok(reader)
    }
}

/// The request is over: so is its stream.
async fn settle(following: &Following, outcome: Result<&Reply, &Error>) {
    match outcome {
        Ok(reply) => match StreamFrame::of_payload(reply.payload()) {
            Some(StreamFrame::End(end)) if end.text.is_some() => following.finish(&end, reply.message_id()),
            // Said at once.
            _ => {
                let text = Some(reply.text().unwrap_or_default());
                following.finish(&StreamEnd { text, ..StreamEnd::default() }, reply.message_id());
            }
        },
        Err(error) => {
            // What was said before, and how it broke off, may be right behind: it travels on another subscription.
            let since = Instant::now();
            while following.has_begun() && !following.has_ended() && since.elapsed() < GRACE {
                sleep(GRACE / 20).await;
            }
            following.fail(error.error_code().unwrap_or(ErrorCode::Internal), error.detail());
        }
    }
}

impl<'a> IntoFuture for StreamRequest<'a> {
    type Output = Result<StreamReader, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
