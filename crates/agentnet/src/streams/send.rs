//! Sending a stream.

use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentnet_proto::{
    AccountId, Envelope, ErrorCode, Payload, StreamFrame, Token,
    envelope::kind,
    stream::{
        MAX_DELTA_BYTES, MAX_FRAME_DELTAS, MAX_FRAMES_PER_SECOND, MAX_TEXT_BYTES, Metadata, StreamEnd,
        StreamError, StreamStart, text_sha256,
    },
};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{
    DEFAULT_STREAM_TIME, IntoDelta,
    sending::{Audience, Sending, delta_frame},
    source::{json_len, split},
};
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    inbox::{HandlerError, Incoming},
    node::{AgentNode, Inner},
    send::{Delivery, Draft, Patience, Route, draft_options},
    target::{IntoTarget, Target},
};

/// What can be repeated to a reader unless set: as much as fits into a message.
const REPLAY_BYTES: usize = 256 * 1024;
/// Bytes of a frame's deltas, as JSON.
const FRAME_TEXT_BYTES: usize = 48 * 1024;
/// Bytes of a message beside its text and metadata.
const ENVELOPE_BYTES: usize = 4 * 1024;
/// Frames that may leave at once before the rate counts.
const BURST: u32 = 64;

type Source<'a> = BoxStream<'a, Result<String, HandlerError>>;

#[derive(Debug)]
enum To {
    Target(Result<Target, Error>),
    /// To whoever asked, on the stream that the request names, if it names one.
    Reply(Arc<Envelope>),
}

/// A text about to be streamed: set options, then `.await`, which drives the source to its end.
///
/// Readers that follow get each delta as it comes. In the end the whole text is one ordinary message, which is what
/// `.await` waits for, as a [send](crate::SendMessage) does. A source that fails ends the stream with `stream_broken`
/// for its readers; dropping the future does so, too.
///
/// # Errors
/// As [`SendMessage`](crate::SendMessage); [`ErrorKind::Stream`]: `stream_too_long` for a text that doesn't fit into a
/// message, or lasts longer than [`max_time`](Self::max_time), `stream_broken` when the source failed, with its error
/// as the cause; [`ErrorKind::InvalidTarget`] for a capability; [`ErrorKind::Busy`] for too many streams at a time.
#[must_use = "nothing is sent until this is awaited"]
pub struct SendStream<'a> {
    node: &'a Arc<Inner>,
    to: To,
    source: Source<'a>,
    draft: Draft,
    role: String,
    text_type: String,
    metadata: Metadata,
    max_time: Duration,
    replay_bytes: usize,
}

/// What became of a stream that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSent {
    /// The stream.
    pub stream_id: String,
    /// What was said.
    pub text: String,
    /// In how many deltas.
    pub deltas: u64,
    /// Whether its reader cancelled it.
    pub cancelled: bool,
    /// What is true about the message that holds the text. Of a reply no more than that it is stored.
    pub delivery: Delivery,
}

impl AgentNode {
    /// Streams a text to an account, a username or the members of a thread. Each item of the source is one delta.
    ///
    /// ```no_run
    /// # async fn example(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
    /// let words = futures_util::stream::iter(["Sun", "ny", "."]);
    /// let sent = node.send_stream("@weather_fan", words).thread("trip_1").await?;
    /// assert_eq!(sent.text, "Sunny.");
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_stream<'a, S>(&'a self, target: impl IntoTarget, source: S) -> SendStream<'a>
    where
        S: Stream + Send + 'a,
        S::Item: IntoDelta,
    {
        SendStream::new(&self.inner, To::Target(target.into_target()), source)
    }
}

impl Incoming {
    /// Answers piece by piece: a request with a streamed reply, any other message with a stream in its thread. A
    /// requester that didn't ask for a stream gets the reply when it is complete.
    pub fn reply_stream<'a, S>(&'a self, source: S) -> SendStream<'a>
    where
        S: Stream + Send + 'a,
        S::Item: IntoDelta,
    {
        if self.wants_reply() {
            return SendStream::new(&self.node, To::Reply(Arc::clone(&self.envelope)), source);
        }
        let (target, place) = self.answer_place();
        let mut stream = SendStream::new(&self.node, To::Target(target), source);
        stream.draft.at(place);
        stream
    }
}

enum Outcome {
    Complete,
    Cancelled,
    /// By its own fault, which readers hear of.
    Failed(Error),
    /// Nobody takes it.
    Refused(Error),
}

/// A stream's terms, apart from its source.
struct Speaker<'a> {
    node: &'a Arc<Inner>,
    draft: Draft,
    role: String,
    text_type: String,
    metadata: Metadata,
    max_time: Duration,
}

impl<'a> SendStream<'a> {
    fn new<S>(node: &'a Arc<Inner>, to: To, source: S) -> Self
    where
        S: Stream + Send + 'a,
        S::Item: IntoDelta,
    {
        Self {
            node,
            to,
            source: source.map(IntoDelta::into_delta).boxed(),
            draft: Draft::new(kind::STREAM, Payload::default()),
            role: "assistant".to_owned(),
            text_type: "text/plain".to_owned(),
            metadata: BTreeMap::new(),
            max_time: DEFAULT_STREAM_TIME,
            replay_bytes: REPLAY_BYTES,
        }
    }

    draft_options!();

    /// Who speaks; `assistant` unless set.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = role.into();
        self
    }

    /// Media type of the text; `text/plain` unless set.
    pub fn text_type(mut self, text_type: impl Into<String>) -> Self {
        self.text_type = text_type.into();
        self
    }

    /// Tells readers something else about the text.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// How long it may take; 10 minutes.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    /// How much can be repeated to readers that missed it, in bytes; 256 KiB. What is beyond that they get with the
    /// finished text.
    pub fn replay(mut self, bytes: usize) -> Self {
        self.replay_bytes = bytes;
        self
    }

    async fn run(self) -> Result<StreamSent, Error> {
        let Self { node, to, mut source, draft, role, text_type, metadata, max_time, replay_bytes } = self;
        let speaker = Speaker { node, draft, role, text_type, metadata, max_time };
        speaker.run(to, &mut source, replay_bytes).await
    }
}

impl Speaker<'_> {
    async fn run(
        mut self,
        to: To,
        source: &mut Source<'_>,
        replay_bytes: usize,
    ) -> Result<StreamSent, Error> {
        let inner = self.node;
        inner.check_open()?;
        let (place, audience, readers) = self.place(to).await?;
        let id = match &place {
            Place::Reply(_, Some(id)) => id.clone(),
            _ => Token::new(inner.ids.message_id())
                .map_err(|code| Error::of(code, "the id generator made an id that can't be used"))?,
        };
        let message_id = self.draft.message_id.take().unwrap_or_else(|| inner.ids.message_id());
        let start = StreamStart {
            stream_id: id.to_string(),
            role: self.role.clone(),
            content_type: self.text_type.clone(),
            started_at: inner.clock.now().to_string(),
            metadata: self.metadata.clone(),
            message_id: Some(message_id.clone()),
            seq: None,
            replay_from: None,
            from_account_id: Some(inner.account.to_string()),
        };
        let sending = Sending::new(id, audience, start, replay_bytes);
        let sending = inner.streams.outgoing.insert(sending, Instant::now())?;
        let open = Open { inner, sending: &sending, is_done: false };
        // Whoever asked listens already.
        let first = inner.framed(&StreamFrame::Start(sending.start.clone()))?;
        for reader in readers {
            inner.publish_frame(&reader, &sending.id, &first).await;
            sending.read_by(reader);
        }
        let begun = match &place {
            Place::Route(route) => Some(self.begin(route, &sending).await?),
            Place::Reply(..) => None,
        };
        let refused = async {
            match &begun {
                Some(handle) => match handle.delivered().await {
                    Err(error) if !error.is_retryable() => error,
                    // The finished message will tell whether the network stores anything.
                    _ => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let (text, outcome) = self.drive(&sending, source, refused).await;
        self.conclude(open, place, message_id, text, outcome).await
    }

    /// Where it goes, who may read it, and who reads it from the start.
    async fn place(&self, to: To) -> Result<(Place, Audience, Vec<AccountId>), Error> {
        let inner = self.node;
        match to {
            To::Target(target) => {
                let route = inner.route(target?).await?;
                let audience = match &route {
                    Route::Account(id) => Audience::Account(id.clone()),
                    Route::Thread(id, _) => Audience::Thread(id.clone()),
                    Route::Capability(_) => {
                        let detail = "a stream goes to an account, a username, a thread, or as a reply";
                        return Err(Error::new(ErrorKind::InvalidTarget, detail));
                    }
                };
                Ok((Place::Route(route), audience, Vec::new()))
            }
            To::Reply(request) => {
                let requester = request.from_account_id.as_deref().and_then(|id| AccountId::new(id).ok());
                let stream = request.reply_stream.as_deref().and_then(|id| Token::new(id).ok());
                let (stream, readers) = match (stream, &requester) {
                    (Some(stream), Some(requester)) => (Some(stream), vec![requester.clone()]),
                    _ => (None, Vec::new()),
                };
                // Nobody reads a stream that wasn't asked for; its id is ours alone.
                let audience = Audience::Account(requester.unwrap_or_else(|| inner.account.clone()));
                Ok((Place::Reply(request, stream), audience, readers))
            }
        }
    }

    /// Tells readers to be that a text begins.
    async fn begin(&self, route: &Route, sending: &Sending) -> Result<crate::send::DeliveryHandle, Error> {
        let mut draft = self.draft.clone();
        let start = StreamStart { from_account_id: None, ..sending.start.clone() };
        draft.payload = crate::send::payload_of(&StreamFrame::Start(start))?;
        // The finished message refers to them.
        draft.blobs.clear();
        let message = self.node.dispatch(draft, route, None, self.patience()).await?;
        Ok(message)
    }

    fn patience(&self) -> Patience {
        let config = &self.node.config;
        Patience {
            receipt_timeout: config.receipt_timeout,
            retry_attempts: config.retry_attempts,
            must_confirm: true,
        }
    }

    /// Speaks until the source ends, or something ends it.
    async fn drive(
        &self,
        sending: &Sending,
        source: &mut Source<'_>,
        refused: impl Future<Output = Error>,
    ) -> (String, Outcome) {
        let inner = self.node;
        let deadline = after(Instant::now(), self.max_time);
        let metadata = serde_json::to_string(&self.metadata).map_or(0, |text| text.len());
        let room =
            inner.config.max_payload_bytes.saturating_sub(ENVELOPE_BYTES + metadata).min(MAX_TEXT_BYTES);
        let (mut text, mut encoded) = (String::new(), 0);
        let mut pace = Pace::new(Instant::now());
        let mut chunks = source.ready_chunks(MAX_FRAME_DELTAS);
        tokio::pin!(refused);
        loop {
            let items = tokio::select! {
                biased;
                () = sending.cancelled() => return (text, Outcome::Cancelled),
                () = inner.stopped() => return (text, Outcome::Failed(Error::closed())),
                error = &mut refused => return (text, Outcome::Refused(error)),
                () = sleep_until(deadline) => {
                    let seconds = self.max_time.as_secs_f64();
                    let detail = format!("the stream didn't end within {seconds} s; give it more, or say less");
                    return (text, Outcome::Failed(Error::of(ErrorCode::StreamTooLong, detail)));
                }
                items = chunks.next() => items,
            };
            let Some(items) = items else { return (text, Outcome::Complete) };
            let (mut deltas, mut end) = (Vec::new(), None);
            for item in items {
                match item {
                    Ok(delta) if delta.is_empty() => {}
                    Ok(delta) if encoded + json_len(&delta) > room => {
                        let detail =
                            format!("the text doesn't fit into a message of {room} bytes; send it in parts");
                        end = Some(Error::of(ErrorCode::StreamTooLong, detail));
                        break;
                    }
                    Ok(delta) => {
                        encoded += json_len(&delta);
                        text.push_str(&delta);
                        deltas.extend(split(delta, MAX_DELTA_BYTES));
                    }
                    Err(error) => {
                        end = Some(
                            Error::of(ErrorCode::StreamBroken, "the source of the stream failed")
                                .source_of(error),
                        );
                        break;
                    }
                }
            }
            if let Err(error) = self.speak(sending, deltas, &mut pace).await {
                return (text, Outcome::Failed(error));
            }
            if let Some(error) = end {
                return (text, Outcome::Failed(error));
            }
        }
    }

    /// Sends deltas in as few frames as they fit into.
    async fn speak(&self, sending: &Sending, deltas: Vec<String>, pace: &mut Pace) -> Result<(), Error> {
        let mut rest = deltas.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut frame, mut bytes) = (Vec::new(), 0);
            while let Some(delta) =
                rest.next_if(|next| frame.is_empty() || bytes + json_len(next) <= FRAME_TEXT_BYTES)
            {
                bytes += json_len(&delta) + 3;
                frame.push(delta);
                if frame.len() >= MAX_FRAME_DELTAS {
                    break;
                }
            }
            let count = frame.len() as u64;
            let inner = self.node;
            let framed = inner.framed(&delta_frame(&sending.id, sending.next(), frame, &inner.account))?;
            for reader in sending.keep(count, &framed) {
                inner.publish_frame(&reader, &sending.id, &framed).await;
            }
            pace.wait().await;
        }
        Ok(())
    }

    /// Says how it ended, to those who read along and in a message.
    async fn conclude(
        &self,
        mut open: Open<'_>,
        place: Place,
        message_id: String,
        text: String,
        outcome: Outcome,
    ) -> Result<StreamSent, Error> {
        let (inner, sending) = (self.node, open.sending);
        let finished_at = inner.clock.now().to_string();
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let payload = match &outcome {
            Outcome::Complete | Outcome::Cancelled => {
                let end = StreamEnd {
                    stream_id: sending.id.to_string(),
                    seq: sending.next(),
                    text: None,
                    sha256: Some(text_sha256(&text)),
                    role: self.role.clone(),
                    content_type: self.text_type.clone(),
                    finished_at,
                    cancelled,
                    metadata: self.metadata.clone(),
                    message_id: Some(message_id.clone()),
                    from_account_id: Some(inner.account.to_string()),
                };
                open.end(&StreamFrame::End(end.clone())).await?;
                StreamFrame::End(StreamEnd {
                    text: Some(text.clone()),
                    message_id: None,
                    from_account_id: None,
                    ..end
                })
            }
            Outcome::Failed(error) | Outcome::Refused(error) => {
                let failed = open.failure(error, finished_at, &message_id);
                open.end(&StreamFrame::Error(failed.clone())).await?;
                StreamFrame::Error(StreamError { from_account_id: None, ..failed })
            }
        };
        let mut draft = self.draft.clone();
        draft.message_id = Some(message_id);
        // It stands for the operation, which the first message was.
        draft.idempotency_key = None;
        let failure = match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Refused(error) => return Err(error),
            Outcome::Complete | Outcome::Cancelled => None,
        };
        let said = match (place, &failure) {
            (Place::Reply(request, _), Some(error)) => {
                let code = error.error_code().unwrap_or(ErrorCode::StreamBroken);
                inner.reply_error(&request, code, error.detail()).await;
                None
            }
            (Place::Reply(request, _), None) => {
                draft.kind = kind::REPLY.to_owned();
                draft.payload = crate::send::payload_of(&payload)?;
                Some(inner.reply(&request, draft).await?)
            }
            (Place::Route(route), _) => {
                draft.payload = crate::send::payload_of(&payload)?;
                Some(inner.dispatch(draft, &route, None, self.patience()).await?)
            }
        };
        if let Some(error) = failure {
            // What becomes of the message that says so is nothing the caller could do about.
            return Err(error);
        }
        let delivery = match said {
            Some(handle) => handle.delivered().await?,
            None => return Err(Error::closed()),
        };
        let (stream_id, deltas) = (sending.id.to_string(), sending.next());
        Ok(StreamSent { stream_id, text, deltas, cancelled, delivery })
    }
}

enum Place {
    Route(Route),
    /// The request, and the stream that it wants the reply on.
    Reply(Arc<Envelope>, Option<Token>),
}

/// A stream under way. One that is dropped before it ended tells its readers so.
struct Open<'a> {
    inner: &'a Arc<Inner>,
    sending: &'a Arc<Sending>,
    is_done: bool,
}

impl Open<'_> {
    async fn end(&mut self, frame: &StreamFrame) -> Result<(), Error> {
        let framed = self.inner.framed(frame)?;
        self.is_done = true;
        for reader in self.sending.end(&framed, Instant::now()) {
            self.inner.publish_frame(&reader, &self.sending.id, &framed).await;
        }
        Ok(())
    }

    fn failure(&self, error: &Error, finished_at: String, message_id: &str) -> StreamError {
        let code = error.error_code().unwrap_or(ErrorCode::StreamBroken);
        StreamError {
            stream_id: self.sending.id.to_string(),
            error: code.as_str().to_owned(),
            detail: error.detail().to_owned(),
            seq: self.sending.next(),
            finished_at,
            metadata: Metadata::new(),
            message_id: Some(message_id.to_owned()),
            from_account_id: Some(self.inner.account.to_string()),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let error = Error::of(ErrorCode::StreamBroken, "its sender stopped before the end");
        let message_id = self.sending.start.message_id.clone().unwrap_or_default();
        let frame = StreamFrame::Error(self.failure(&error, self.inner.clock.now().to_string(), &message_id));
        let Ok(framed) = self.inner.framed(&frame) else { return };
        // Who isn't reached asks, and is told then.
        let readers = self.sending.end(&framed, Instant::now());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (node, sending) = (Arc::clone(self.inner), Arc::clone(self.sending));
            runtime.spawn(async move {
                for reader in readers {
                    node.publish_frame(&reader, &sending.id, &framed).await;
                }
            });
        }
    }
}

/// Spaces frames out: the rate, and a burst.
struct Pace {
    /// When the next frame would be due at the rate.
    due: Instant,
}

impl Pace {
    const STEP: Duration = Duration::from_nanos(1_000_000_000 / MAX_FRAMES_PER_SECOND as u64);

    fn new(now: Instant) -> Self {
        Self { due: now }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now) + Self::STEP;
        let ahead = Self::STEP * BURST;
        if self.due > now + ahead {
            sleep_until(self.due - ahead).await;
        }
    }
}

impl<'a> IntoFuture for SendStream<'a> {
    type Output = Result<StreamSent, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl std::fmt::Debug for SendStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendStream").field("to", &self.to).finish_non_exhaustive()
    }
}
