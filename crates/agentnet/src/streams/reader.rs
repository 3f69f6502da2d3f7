//! Reading a stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use agentnet_proto::{
    AccountId, ErrorCode, StreamFrame, Token,
    stream::{StreamCancel, StreamStart},
};
use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::following::{Following, Source};
use crate::{
    error::{Error, ErrorKind},
    node::{AgentNode, Inner},
    request::Reply,
};

/// How often, and for how long, a cancel is tried while the connection is away.
const CANCEL_TRIES: u32 = 5;
/// How long a request may take to say why, once its stream has failed.
const REQUEST_END: Duration = Duration::from_secs(2);
const CANCEL_PAUSE: Duration = Duration::from_secs(1);

/// The request that a stream answers.
pub(super) struct Asked {
    pub(super) reply: oneshot::Receiver<Result<Reply, Error>>,
    pub(super) task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A text while it is written: a stream of its deltas, in order, each once, complete.
///
/// ```no_run
/// # async fn example(mut stream: agentnet::StreamReader) -> Result<(), agentnet::Error> {
/// while let Some(delta) = stream.next_delta().await {
///     print!("{}", delta?);
/// }
/// println!("\n{} bytes", stream.finish().await?.text.len());
/// # Ok(())
/// # }
/// ```
///
/// It survives the loss of connections: what was missed meanwhile is asked for again. An error is the last item:
/// `stream_broken` when the sender failed or is gone, `stream_too_long`, `stream_mismatch` when hash or finished text
/// differ from the deltas; the kind is [`ErrorKind::Stream`]. Dropping the reader stops reading, [`cancel`](Self::cancel)
/// stops the sender.
pub struct StreamReader {
    node: Arc<Inner>,
    following: Arc<Following>,
    asked: Option<Asked>,
    failed: bool,
}

/// A text that was streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamedText {
    /// All of it.
    pub text: String,
    /// The message that holds it.
    pub message_id: Option<String>,
    /// Whether it ended early, because it was cancelled.
    pub cancelled: bool,
    /// The reply, if it answered a request.
    pub reply: Option<Reply>,
}

impl StreamReader {
    pub(super) fn new(node: Arc<Inner>, following: Arc<Following>, asked: Option<Asked>) -> Self {
        Self { node, following, asked, failed: false }
    }

    /// What the request failed with before its reply began.
    pub(super) async fn failed_before_it_began(&mut self) -> Result<(), Error> {
        let Some(Err(error)) = self.following.ended().filter(|_| self.following.text().is_empty()) else {
            return Ok(());
        };
        let Some(asked) = &mut self.asked else { return Err(error) };
        match timeout(REQUEST_END, &mut asked.reply).await {
            Ok(Ok(Err(error))) => Err(error),
            _ => Err(error),
        }
    }

    /// The stream.
    pub fn stream_id(&self) -> &str {
        &self.following.id
    }

    /// Whether it comes piece by piece; a reply that was given at once is one delta.
    pub fn is_live(&self) -> bool {
        self.following.has_begun()
    }

    /// Who sends, once that is known.
    pub fn from_account(&self) -> Option<String> {
        self.following.from().map(|from| from.to_string())
    }

    /// What came so far, without gaps; also what wasn't taken yet.
    pub fn text_so_far(&self) -> String {
        self.following.text()
    }

    /// The next delta; `None` at the end.
    pub async fn next_delta(&mut self) -> Option<Result<String, Error>> {
        self.next().await
    }

    /// Reads to the end, and waits for the reply if it is one.
    ///
    /// # Errors
    /// What broke it off: [`ErrorKind::Stream`], or as [`RequestMessage`](crate::RequestMessage).
    pub async fn finish(mut self) -> Result<StreamedText, Error> {
        while let Some(delta) = self.next().await {
            delta?;
        }
        let Some(ended) = self.following.ended() else { return Err(Error::closed()) };
        let (ended, text) = (ended?, self.following.text());
        let Some(asked) = &mut self.asked else {
            let (message_id, cancelled) = (ended.message_id, ended.cancelled);
            return Ok(StreamedText { text, message_id, cancelled, reply: None });
        };
        let reply = (&mut asked.reply).await.map_err(|_| Error::closed())??;
        if reply.text().is_some_and(|whole| whole != text) {
            let detail = "the reply isn't what the deltas said";
            return Err(Error::of(ErrorCode::StreamMismatch, detail).message(reply.message_id()));
        }
        let message_id = Some(reply.message_id().to_owned());
        Ok(StreamedText { text, message_id, cancelled: ended.cancelled, reply: Some(reply) })
    }

    /// Wants no more of it. A stream for this account alone ends, and its message says so; one in a thread goes on for
    /// the others. What came so far.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`] when the sender couldn't be told.
    pub async fn cancel(self) -> Result<String, Error> {
        let text = self.following.text();
        if self.following.has_ended() {
            return Ok(text);
        }
        self.following.fail(ErrorCode::StreamCancelled, "the stream was cancelled here");
        let (Some(from), Ok(id)) = (self.following.from(), Token::new(self.following.id.as_str())) else {
            return Ok(text);
        };
        let frame = StreamFrame::Cancel(StreamCancel {
            stream_id: id.to_string(),
            from_account_id: Some(self.node.account.to_string()),
        });
        let framed = self.node.framed(&frame)?;
        for attempt in 0..CANCEL_TRIES {
            if attempt > 0 {
                sleep(CANCEL_PAUSE).await;
            }
            if self.node.connection.is_connected() {
                self.node.publish_frame(&from, &id, &framed).await;
                if self.node.connection.flush(CANCEL_PAUSE).await.is_ok() {
                    return Ok(text);
                }
            }
        }
        Err(self.node.connection.unavailable())
    }
}

impl Stream for StreamReader {
    type Item = Result<String, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if self.node.is_closed() {
            self.following.fail(ErrorCode::Closed, "the node is closed");
        }
        let polled = self.following.poll(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.failed = true;
        }
        polled
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.node.streams.reading.remove(&self.following);
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("stream_id", &self.stream_id()).finish_non_exhaustive()
    }
}

impl AgentNode {
    /// Reads a stream whose beginning this account has seen elsewhere, in the history or in another session: from its
    /// first word, as far as its sender keeps it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a beginning that names no message for the finished text, or is being read
    /// here already; [`ErrorKind::InvalidTarget`] for an account that can't be addressed; [`ErrorKind::Busy`] when too
    /// many streams are being read.
    pub fn follow_stream(&self, from_account: &str, start: &StreamStart) -> Result<StreamReader, Error> {
        let from =
            AccountId::new(from_account).map_err(|code| Error::of(code, "no account sends under this id"))?;
        let id =
            Token::new(start.stream_id.as_str()).map_err(|code| Error::of(code, "no stream has this id"))?;
        let Some(message_id) = start.message_id.clone() else {
            let detail = "the stream's parts are messages; its handlers get them";
            return Err(Error::new(ErrorKind::InvalidArgument, detail));
        };
        let inner = &self.inner;
        inner.check_open()?;
        let patience = inner.streams.patience;
        let following =
            Following::new(id.as_str(), Source::Message(message_id), Some(from), patience, Instant::now());
        match inner.streams.reading.insert(following)? {
            Some(following) => {
                inner.streams.wake.notify_one();
                Ok(StreamReader::new(Arc::clone(inner), following, None))
            }
            None => Err(Error::new(ErrorKind::InvalidArgument, "the stream is being read here already")),
        }
    }
}
