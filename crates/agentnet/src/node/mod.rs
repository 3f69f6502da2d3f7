//! The node: one agent's session on the network.

mod builder;
mod close;
mod config;
mod entrance;
mod feed;
mod maintain;
mod observe;
mod online;
mod renew;
mod session;
mod snapshot;
mod start;
mod tasks;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use agentnet_proto::{AccountId, BlobRef, SharedClock, Timestamp, ids::SharedIds, rpc::BlobInfo};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use builder::AgentNodeBuilder;
pub(crate) use config::Config;
pub use observe::{Observation, Observed};
use session::Session;

use crate::{
    auth::Auth,
    blobs::{BlobSource, Blobs, GetBlob, PutBlob},
    blocks::Blocks,
    connect::Connection,
    error::Error,
    groups::{Invitations, Members},
    handlers::Handlers,
    inbox::{Guards, Incoming, JobQueue, ReceiptBox, Remembered},
    metrics::{Metrics, MetricsSnapshot},
    outbox::Outbox,
    registry::RegistryClient,
    request::{RequestMessage, Requests},
    send::{DeliveryHandle, SendMessage, payload_of},
    streams::Streams,
    target::{IntoTarget, Target},
    tasks::Tasks,
    ttl_map::TtlMap,
};

/// What the tasks, handles and messages of a node share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) connection: Connection,
    pub(crate) registry: RegistryClient,
    pub(crate) account: AccountId,
    session: RwLock<Session>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) auth: Auth,
    /// When this session began: what was sent before didn't come in live.
    pub(crate) began_at: Timestamp,
    pub(crate) metrics: Metrics,
    pub(crate) outbox: Outbox,
    pub(crate) receipts: ReceiptBox,
    pub(crate) requests: Requests,
    pub(crate) guards: Guards,
    /// The guards' memory that outlives the process.
    pub(crate) remembered: Option<Remembered>,
    pub(crate) jobs: JobQueue,
    pub(crate) handlers: Handlers,
    pub(crate) streams: Streams,
    pub(crate) tasks: Tasks,
    pub(crate) accounts: Mutex<TtlMap<AccountId>>,
    /// Members of threads; `None` for threads that aren't ours.
    pub(crate) groups: Mutex<TtlMap<Option<Members>>>,
    pub(crate) blocks: Blocks,
    pub(crate) invitations: Invitations,
    pub(crate) thread_news: tokio::sync::broadcast::Sender<agentnet_proto::rpc::ThreadEvent>,
    observers: observe::Observers,
    accepting: AtomicBool,
    closed: AtomicBool,
    /// Wakes the maintenance task.
    wake: Arc<Notify>,
    cancel: CancellationToken,
    /// Whether the node is a session that others may reach; see [`AgentNode::offline`].
    online: AtomicBool,
    /// Tells the intake whether messages are taken.
    intake_wanted: watch::Sender<bool>,
    /// The intake has ended its subscriptions, and admitted what they had.
    intake_paused: Notify,
    /// Held by whoever changes what the node is subscribed to.
    switching: tokio::sync::Mutex<()>,
    owns_connection: bool,
    /// The task that panicked, after which the node is stopped.
    broken: OnceLock<&'static str>,
}

impl Inner {
    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::new(self.registry.clone(), Some(self.account.clone()))
    }

    pub(crate) fn session_tag(&self) -> Arc<str> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).tag.clone()
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    /// Until the node stops.
    pub(crate) async fn stopped(&self) {
        self.cancel.cancelled().await;
    }

    /// What comes of `task`, unless the node stops first.
    pub(crate) async fn until_stopped<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        self.cancel.run_until_cancelled(task).await
    }

    /// Work beside the workers, which closing waits for as for theirs, until the guard is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.jobs.enter();
        Busy(Arc::clone(self))
    }

    /// Ends every task and wait of the node, without a word to the network.
    fn stop(&self) {
        self.accepting.store(false, Ordering::Release);
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.outbox.close();
            self.streams.close();
        }
        self.cancel.cancel();
    }

    /// Stops after `task` panicked: a node that no longer does its part must not stay registered and deaf.
    async fn broke(&self, task: &'static str, panic: &str) {
        tracing::error!(task, panic, account = %self.account, "a task of the node panicked: the node stops");
        let _ = self.broken.set(task);
        self.stop();
        if let Err(error) = self.goodbye().await {
            tracing::debug!(%error, "goodbye not sent");
        }
        if self.owns_connection {
            let _ = self.connection.close(close::FLUSH).await;
        } else {
            let _ = self.connection.flush(close::FLUSH).await;
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Work under way.
pub(crate) struct Busy(Arc<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.jobs.leave();
    }
}

/// Stops the tasks when the last clone of the node goes without `close`.
struct StopOnDrop(Arc<Inner>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// An agent on the network. Cheap to clone; all clones are one session.
///
/// Made by [`AgentNode::builder`]. Dropping the last clone stops it at once; [`close`](Self::close) ends it in order.
#[derive(Clone)]
pub struct AgentNode {
    pub(crate) inner: Arc<Inner>,
    tasks: Arc<Mutex<tasks::Tasks>>,
    /// Where subscriptions that are made anew go.
    feeds: Arc<tasks::Feeds>,
    exit_hook: close::ExitHook,
    /// What an earlier process left in the outbox's file.
    left: Arc<Mutex<Vec<DeliveryHandle>>>,
    _stop: Arc<StopOnDrop>,
}

impl AgentNode {
    /// A node to be: set options, then [`start`](AgentNodeBuilder::start).
    pub fn builder(agent_id: impl Into<String>) -> AgentNodeBuilder {
        AgentNodeBuilder::new(agent_id.into())
    }

    /// The role label.
    pub fn agent_id(&self) -> &str {
        &self.inner.config.agent_id
    }

    /// The account: what others address.
    pub fn account_id(&self) -> &str {
        self.inner.account.as_str()
    }

    /// The account's username.
    pub fn username(&self) -> String {
        self.inner.session.read().unwrap_or_else(PoisonError::into_inner).username.clone()
    }

    /// This session.
    pub fn session_tag(&self) -> String {
        self.inner.session_tag().to_string()
    }

    /// The registry, with this node's connection.
    pub fn registry(&self) -> &RegistryClient {
        &self.inner.registry
    }

    /// The connection to NATS.
    pub fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Sends a message to an account, a username, a capability or a thread; see [`Target::parse`] for the forms.
    pub fn send<T: Serialize>(&self, target: impl IntoTarget, payload: T) -> SendMessage<'_> {
        SendMessage::new(&self.inner, target, payload_of(&payload))
    }

    /// Sends a message to an account by its id.
    pub fn send_to_account<T: Serialize>(&self, account_id: &str, payload: T) -> SendMessage<'_> {
        SendMessage::new(&self.inner, Target::account(account_id), payload_of(&payload))
    }

    /// Sends a message to the account of a username.
    pub fn send_to_username<T: Serialize>(&self, username: &str, payload: T) -> SendMessage<'_> {
        SendMessage::new(&self.inner, Target::username(username), payload_of(&payload))
    }

    /// Sends a message to any one agent with a capability.
    pub fn send_to_capability<T: Serialize>(&self, capability: &str, payload: T) -> SendMessage<'_> {
        SendMessage::new(&self.inner, Target::capability(capability), payload_of(&payload))
    }

    /// Messages that an earlier process of this agent left in the [outbox's file](AgentNodeBuilder::outbox_file). They
    /// are being sent already; the handles tell what becomes of them. Gives them once.
    pub fn left_over(&self) -> Vec<DeliveryHandle> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a message that refers to a blob, which its readers may then read; see [`SendMessage::refers_to`] for payloads
    /// that say more.
    pub fn send_blob_ref(&self, target: impl IntoTarget, blob: BlobInfo) -> SendMessage<'_> {
        let blob_id = blob.blob_id.clone();
        self.send(target, BlobRef::from(blob)).refers_to(blob_id)
    }

    /// This account's files, and those it may read.
    pub fn blobs(&self) -> Blobs {
        self.inner.blobs()
    }

    /// Puts a file into the network's object store: bytes, a path, or a [reader](BlobSource::reader).
    pub fn put_blob<'a>(&self, source: impl Into<BlobSource<'a>>) -> PutBlob<'a> {
        self.blobs().put(source)
    }

    /// Gets a file from there: all of it or a range, as bytes, into a file, or to a writer.
    pub fn get_blob<'a>(&self, blob_id: impl Into<String>) -> GetBlob<'a> {
        self.blobs().get(blob_id)
    }

    /// Asks an account, a username or a capability, and waits for the reply.
    pub fn request<T: Serialize>(&self, target: impl IntoTarget, payload: T) -> RequestMessage<'_> {
        RequestMessage::new(self, target, payload_of(&payload))
    }

    /// Asks an account by its id.
    pub fn request_account<T: Serialize>(&self, account_id: &str, payload: T) -> RequestMessage<'_> {
        RequestMessage::new(self, Target::account(account_id), payload_of(&payload))
    }

    /// Asks the account of a username.
    pub fn request_username<T: Serialize>(&self, username: &str, payload: T) -> RequestMessage<'_> {
        RequestMessage::new(self, Target::username(username), payload_of(&payload))
    }

    /// Asks any one agent with a capability.
    pub fn request_capability<T: Serialize>(&self, capability: &str, payload: T) -> RequestMessage<'_> {
        RequestMessage::new(self, Target::capability(capability), payload_of(&payload))
    }

    /// Answers a request; the same as [`Incoming::reply`].
    ///
    /// # Errors
    /// As [`Incoming::reply`].
    pub async fn reply<T: Serialize>(&self, request: &Incoming, payload: T) -> Result<DeliveryHandle, Error> {
        request.reply(payload).await
    }

    /// Answers a message with a message in its thread; the same as [`Incoming::reply_message`].
    pub fn reply_message<'a, T: Serialize>(&self, message: &'a Incoming, payload: T) -> SendMessage<'a> {
        message.reply_message(payload)
    }

    /// The account of a username, from the cache or the registry.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), and as [`RegistryClient::call`].
    pub async fn resolve_username(&self, username: &str) -> Result<AccountId, Error> {
        match Target::username(username)? {
            Target::Username(name) => self.inner.resolve_username(&name).await,
            _ => Err(Error::new(crate::ErrorKind::InvalidTarget, "not a username")),
        }
    }

    /// What the node counted so far.
    pub fn metrics_snapshot(&self) -> MetricsSnapshot {
        snapshot::take(&self.inner)
    }

    /// Whether the node takes messages; not any more once [`close`](Self::close) was called.
    pub fn is_accepting(&self) -> bool {
        self.inner.is_accepting()
    }

    /// Whether the node was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

impl fmt::Debug for AgentNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentNode")
            .field("agent_id", &self.agent_id())
            .field("account_id", &self.account_id())
            .finish_non_exhaustive()
    }
}
