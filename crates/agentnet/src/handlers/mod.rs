//! Which handlers a message is for: added and removed while the agent runs.
//!
//! An answer to a [quick send](AgentNode::quick_send) goes to whoever waits for it. Any other message goes to the first of
//! these that has a handler for it:
//!
//! 1. handlers of answers to the message that it answers ([`On::Answer`]);
//! 2. handlers of its thread ([`On::Thread`]);
//! 3. handlers of its kind ([`On::Kind`]) and of the blocks in it ([`On::Block`]);
//! 4. handlers of anything ([`On::Any`]).
//!
//! All handlers of that step get it, at once; the message is processed when they all are, and what one of them fails
//! with is the sender's `handler_error`.

mod once;
mod quick;
mod run;
mod table;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard, Weak},
};

use agentnet_proto::{BlockType, Envelope};
use tokio::sync::watch;

pub(crate) use once::OnceHandler;
use once::OnceTable;
pub use quick::QuickSend;
pub(crate) use run::{Failed, run};
use table::Table;

use crate::{
    error::{Error, ErrorKind},
    inbox::{Handler, HandlerResult, Incoming},
    node::{AgentNode, Inner},
    streams::{StreamHandler, StreamReader, stream_handler_of},
};

/// Most handlers of a node at a time.
pub(crate) const MAX_HANDLERS: usize = 4_096;

/// What a handler is for. See [`AgentNode::add_handler`] for which comes first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum On {
    /// Answers to one message: those that name it as their `parent_message_id`.
    Answer(String),
    /// Messages of one thread.
    Thread(String),
    /// Messages of one kind: `direct`, `request`, ...
    Kind(String),
    /// Messages with a block of that type.
    Block(BlockType),
    /// Whatever no other handler is for.
    Any,
}

impl On {
    /// [`On::Answer`].
    pub fn answer(message_id: impl Into<String>) -> Self {
        Self::Answer(message_id.into())
    }

    /// [`On::Thread`].
    pub fn thread(thread_id: impl Into<String>) -> Self {
        Self::Thread(thread_id.into())
    }

    /// [`On::Kind`].
    pub fn kind(kind: impl Into<String>) -> Self {
        Self::Kind(kind.into())
    }

    /// [`On::Block`].
    pub fn block(block_type: impl Into<BlockType>) -> Self {
        Self::Block(block_type.into())
    }
}

/// A node's handlers.
pub(crate) struct Handlers {
    messages: RwLock<Table<Handler>>,
    streams: RwLock<Table<StreamHandler>>,
    /// Of answers to quick sends.
    once: Mutex<OnceTable>,
    /// Whether there ever was a handler; until then messages wait.
    ready: watch::Sender<bool>,
    listens: bool,
}

impl Handlers {
    /// The handlers of a node that listens, or doesn't.
    pub(crate) fn new(listens: bool) -> Self {
        Self {
            messages: RwLock::default(),
            streams: RwLock::default(),
            once: Mutex::default(),
            ready: watch::Sender::new(false),
            listens,
        }
    }

    /// Adds a handler; its number.
    fn add(&self, on: On, handler: AnyHandler) -> Result<u64, Error> {
        self.check_listens()?;
        let id = match handler {
            AnyHandler::Message(handler) => add_bounded(&self.messages, on, handler)?,
            AnyHandler::Stream(handler) => add_bounded(&self.streams, on, handler)?,
        };
        self.release();
        Ok(id)
    }

    fn remove(&self, on: &On, id: u64, what: What) {
        // Dropped behind the lock: what the handler owns may remove a handler of this node as it goes.
        match what {
            What::Messages => {
                let _removed = write(&self.messages).remove(on, id);
            }
            What::Streams => {
                let _removed = write(&self.streams).remove(on, id);
            }
        }
    }

    /// Those that a message is for.
    pub(crate) fn of(&self, envelope: &Envelope) -> Vec<Handler> {
        self.messages.read().unwrap_or_else(PoisonError::into_inner).matching(envelope).1
    }

    /// The one that a stream is for: the first of its step, unless a quick send waits for its text, or handlers of messages
    /// have a step before it.
    pub(crate) fn stream_handler_of(&self, envelope: &Envelope) -> Option<StreamHandler> {
        if self.awaits(envelope) {
            return None;
        }
        let (step, handlers) = self.streams.read().unwrap_or_else(PoisonError::into_inner).matching(envelope);
        let handler = handlers.into_iter().next()?;
        let (before, handlers) =
            self.messages.read().unwrap_or_else(PoisonError::into_inner).matching(envelope);
        (handlers.is_empty() || step <= before).then_some(handler)
    }

    fn check_listens(&self) -> Result<(), Error> {
        let detail = "the node takes no messages; give its builder a handler, or `listen()`";
        if self.listens { Ok(()) } else { Err(Error::new(ErrorKind::InvalidArgument, detail)) }
    }

    /// Whether the node takes messages.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// Lets workers take messages, whether or not there is a handler.
    pub(crate) fn release(&self) {
        self.ready.send_replace(true);
    }

    /// Until there is, or was, a handler.
    pub(crate) async fn ready(&self) {
        // Fails only when the sender is gone, and it lives as long as the node.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.messages.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Handlers").field("len", &table.len()).finish_non_exhaustive()
    }
}

fn write<H>(table: &RwLock<Table<H>>) -> RwLockWriteGuard<'_, Table<H>> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}

fn add_bounded<H: Clone>(table: &RwLock<Table<H>>, on: On, handler: H) -> Result<u64, Error> {
    let mut table = write(table);
    if table.len() >= MAX_HANDLERS {
        let detail = format!("a node has at most {MAX_HANDLERS} handlers; remove some of them");
        return Err(Error::new(ErrorKind::InvalidArgument, detail));
    }
    Ok(table.add(on, handler))
}

/// A handler of either sort.
pub(crate) enum AnyHandler {
    Message(Handler),
    Stream(StreamHandler),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Messages,
    Streams,
}

/// What a node to be is to do with messages.
#[derive(Default)]
pub(crate) struct Handling {
    /// The one handler of the original's kind.
    pub(crate) any: Option<Handler>,
    pub(crate) named: Vec<(On, AnyHandler)>,
    pub(crate) listens: bool,
}

impl Handling {
    pub(crate) fn handlers(self) -> Result<Handlers, Error> {
        let Self { any, named, listens } = self;
        let handlers = Handlers::new(listens || any.is_some() || !named.is_empty());
        let any = any.map(|handler| (On::Any, AnyHandler::Message(handler)));
        for (on, handler) in any.into_iter().chain(named) {
            handlers.add(on, handler)?;
        }
        Ok(handlers)
    }
}

/// A closure as the node keeps it.
pub(crate) fn handler_of<F, Fut>(handler: F) -> Handler
where
    F: Fn(Incoming) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    Arc::new(move |message| Box::pin(handler(message)))
}

/// A handler that was added to a running node. Dropping it, or [`remove`](Self::remove), removes the handler; what it is
/// at work on it finishes.
#[must_use = "dropping this removes the handler at once"]
pub struct HandlerGuard {
    node: Weak<Inner>,
    on: On,
    id: u64,
    what: What,
}

impl HandlerGuard {
    /// Removes the handler.
    pub fn remove(self) {}

    /// Leaves the handler in place for as long as the node lives.
    pub fn keep(mut self) {
        self.node = Weak::new();
    }
}

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            node.handlers.remove(&self.on, self.id, self.what);
        }
    }
}

impl fmt::Debug for HandlerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerGuard").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn add_handler(self: &Arc<Self>, on: On, handler: AnyHandler) -> Result<HandlerGuard, Error> {
        let what = match &handler {
            AnyHandler::Message(_) => What::Messages,
            AnyHandler::Stream(_) => What::Streams,
        };
        let id = self.handlers.add(on.clone(), handler)?;
        Ok(HandlerGuard { node: Arc::downgrade(self), on, id, what })
    }
}

impl AgentNode {
    /// Adds a handler while the node runs; it stays until the guard is dropped.
    ///
    /// What isn't the answer to a [quick send](Self::quick_send) goes to the handlers of the first step that has any: answers to a message, then its thread, then its
    /// kind and the types of its blocks, then [`On::Any`], which is where
    /// [`on_message`](crate::AgentNodeBuilder::on_message) is. All handlers of that step get it at once; an error or
    /// panic of one becomes the receipt `handler_error`. A message that no handler is for is refused as `no_handler`.
    /// A node that [listens](crate::AgentNodeBuilder::listen) keeps messages waiting until its first handler is there.
    ///
    /// ```no_run
    /// # async fn example(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
    /// use agentnet::{Incoming, On};
    ///
    /// let guard = node.add_handler(On::thread("trip_1"), |msg: Incoming| async move {
    ///     println!("about the trip: {}", msg.text().unwrap_or_default());
    ///     Ok(())
    /// })?;
    /// guard.remove();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] on a node that takes no messages, or has 4,096 handlers already.
    pub fn add_handler<F, Fut>(&self, on: On, handler: F) -> Result<HandlerGuard, Error>
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.inner.add_handler(on, AnyHandler::Message(handler_of(handler)))
    }

    /// Adds a handler of streamed texts while the node runs; it stays until the guard is dropped. It is called with the
    /// message that begins the stream, as soon as that comes, and reads along.
    ///
    /// A stream goes to one handler, the first of the step that [`add_handler`](Self::add_handler) tells, unless a
    /// message handler has a step before it. What it takes comes to no other handler once more when it is finished; without
    /// one, the finished text is a message like any other. Up to 64 run at once, beside the handlers of messages; an
    /// error becomes the receipt `handler_error` of the message that began the stream.
    ///
    /// # Errors
    /// As [`add_handler`](Self::add_handler).
    pub fn add_stream_handler<F, Fut>(&self, on: On, handler: F) -> Result<HandlerGuard, Error>
    where
        F: Fn(Incoming, StreamReader) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.inner.add_handler(on, AnyHandler::Stream(stream_handler_of(handler)))
    }
}
