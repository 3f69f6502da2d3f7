//! A node to be.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use agentnet_proto::{
    Capability, Security, SharedClock, SubSystem, SystemClock, SystemIds,
    ids::SharedIds,
    signature::Deployment,
    sub_system,
    task::{MAX_CAPACITY, TASK_KIND, TASKS_METADATA, TaskOffer},
};
use serde_json::{Map, Value};

use super::{
    AgentNode, Config,
    close::ExitHook,
    entrance::{Entrance, Nats},
    start::{Files, Parts},
};
use crate::{
    connect::{Connection, NatsSettings},
    error::{Error, ErrorKind},
    handlers::{AnyHandler, Handling, On, handler_of},
    identity::Identity,
    inbox::{HandlerResult, Incoming},
    login::Login,
    outbox::OutboxPolicy,
    send::MIN_RECEIPT_TIMEOUT,
    streams::{StreamReader, stream_handler_of},
    tasks::{TaskError, TaskRun, TaskWorker, task_handler_of},
};

/// A node to be: every option has the original's default.
///
/// Without a handler the node only sends and asks: it doesn't subscribe to its inbox, and its messages wait for a
/// session of the account that does.
#[must_use = "nothing happens before `start`"]
pub struct AgentNodeBuilder {
    config: Config,
    nats: Nats,
    handling: Handling,
    clock: SharedClock,
    ids: Option<SharedIds>,
    exit_hook: ExitHook,
    task_offer: TaskOffer,
    tasks: Option<TaskWorker>,
}

impl AgentNodeBuilder {
    pub(super) fn new(agent_id: String) -> Self {
        Self {
            config: Config::new(agent_id, |name| std::env::var(name).ok()),
            nats: Nats::Default,
            handling: Handling::default(),
            clock: SystemClock::shared(),
            ids: None,
            exit_hook: ExitHook::default(),
            task_offer: TaskOffer { capacity: 4, weight: 1.0 },
            tasks: None,
        }
    }

    /// Display name; the agent id unless set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Wanted username; made from the agent id unless set.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.config.username = Some(username.into());
        self
    }

    /// Acts for an account that somebody logged in to, with the key that the login bound to it, as gateways do. Sets
    /// identity, account and username; the key is only in memory.
    pub fn logged_in(mut self, login: Login) -> Self {
        let Login { account_id, username, key, via } = login;
        self.config.identity = Some(Identity::of_key(&username, key));
        (self.config.account_id, self.config.username, self.config.via) =
            (Some(account_id), Some(username), via);
        self
    }

    /// The account to join, when the agent knows it.
    pub fn account_id(mut self, account_id: impl Into<String>) -> Self {
        self.config.account_id = Some(account_id.into());
        self
    }

    /// Adds a capability: others find the agent by it, and with a handler it gets messages addressed to it.
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.config.capabilities.push(name.into());
        self
    }

    /// Sets all capabilities.
    pub fn capabilities<I: IntoIterator<Item = S>, S: Into<String>>(mut self, names: I) -> Self {
        self.config.capabilities = names.into_iter().map(Into::into).collect();
        self
    }

    /// What the agent tells about itself.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.config.metadata = metadata;
        self
    }

    /// Adds a system of the agent's own to what it tells about itself, so that others find it by its type, and where it is.
    pub fn sub_system(mut self, system: &SubSystem) -> Self {
        let systems =
            self.config.metadata.entry(sub_system::FIELD).or_insert_with(|| Value::Array(Vec::new()));
        if let (Value::Array(systems), Ok(system)) = (systems, serde_json::to_value(system)) {
            systems.push(system);
        }
        self
    }

    /// Where NATS is; [`default_nats_url`](crate::connect::default_nats_url) unless set.
    pub fn nats_url(mut self, url: impl Into<String>) -> Self {
        self.nats = Nats::Url(url.into());
        self
    }

    /// Where NATS is, with every setting. The connection is named after the agent unless the settings name it.
    pub fn nats(mut self, settings: NatsSettings) -> Self {
        self.nats = Nats::Settings(Box::new(settings));
        self
    }

    /// A connection to share; closing the node leaves it open. In secure mode one that was entered as the account of the
    /// agent's identity ([`KeyDoor`](crate::connect::KeyDoor)); whoever made it renews it.
    pub fn connection(mut self, connection: Connection) -> Self {
        self.nats = Nats::Connected(connection);
        self
    }

    /// What to do with messages. An error or a panic becomes the receipt `handler_error`; details stay in this
    /// process's log.
    ///
    /// Handlers run up to [`max_concurrency`](Self::max_concurrency) at once, each at most
    /// [`work_timeout`](Self::work_timeout), after which they are dropped where they wait.
    pub fn on_message<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handling.any = Some(handler_of(handler));
        self
    }

    /// What to do with some messages; see [`AgentNode::add_handler`] for which handlers come first. As many as wanted.
    pub fn on<F, Fut>(mut self, on: On, handler: F) -> Self
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handling.named.push((on, AnyHandler::Message(handler_of(handler))));
        self
    }

    /// What to do with streamed texts; see [`AgentNode::add_stream_handler`]. As many as wanted.
    pub fn on_stream<F, Fut>(mut self, on: On, handler: F) -> Self
    where
        F: Fn(Incoming, StreamReader) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handling.named.push((on, AnyHandler::Stream(stream_handler_of(handler))));
        self
    }

    /// Longest time of a stream that is read, from its first to its last word; 10 minutes.
    pub fn stream_time(mut self, time: Duration) -> Self {
        self.config.stream_time = time;
        self
    }

    /// Takes tasks: what others [submit](AgentNode::submit_task) and this agent fits. They run beside the handlers of
    /// messages, up to [`task_concurrency`](Self::task_concurrency) at once, for as long as they take: heartbeats keep
    /// them. What the handler returns is the task's result. An error fails the task, or has it tried again
    /// ([`TaskError::retry`]), on another worker if there is one; so does a panic.
    ///
    /// A task may be begun more than once, when a worker is lost; see [`TaskRun::attempt`].
    pub fn on_task<F, Fut, T>(mut self, handler: F) -> Self
    where
        F: Fn(TaskRun) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, TaskError>> + Send + 'static,
        T: serde::Serialize + 'static,
    {
        self.tasks = Some(TaskWorker::new(task_handler_of(handler)));
        self
    }

    /// Tasks that the agent has in hand at most; 4.
    pub fn task_concurrency(mut self, tasks: u32) -> Self {
        self.task_offer.capacity = tasks.clamp(1, MAX_CAPACITY);
        self
    }

    /// The agent's share of tasks under the strategy `weighted_round_robin`; 1.
    pub fn task_weight(mut self, weight: f64) -> Self {
        self.task_offer.weight = weight;
        self
    }

    /// Takes messages, although the handlers are only [added](AgentNode::add_handler) once the node runs. Until the first
    /// of them is there, messages wait in the backlog.
    pub fn listen(mut self) -> Self {
        self.handling.listens = true;
        self
    }

    /// What [`serve_forever`](AgentNode::serve_forever) does last: after the signal, once every handler has finished and
    /// nothing more is taken, and before the goodbye. The node still sends and asks then. It has the drain timeout
    /// (20 s); a panic in it is logged, and the node closes all the same.
    pub fn on_exit<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(AgentNode) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.exit_hook = ExitHook::of(move |node| Box::pin(hook(node)));
        self
    }

    /// How long nothing may be heard of a stream's sender before its reader gives up; 30 s.
    pub fn stream_silence(mut self, time: Duration) -> Self {
        self.config.stream_silence = time;
        self
    }

    /// Handlers at once; 4.
    pub fn max_concurrency(mut self, handlers: usize) -> Self {
        self.config.max_concurrency = handlers.max(1);
        self
    }

    /// Messages that wait for a handler before others are refused as `busy`; 100.
    pub fn max_pending(mut self, messages: usize) -> Self {
        self.config.max_pending = messages;
        self
    }

    /// Longest time of one handler; 30 s.
    pub fn work_timeout(mut self, timeout: Duration) -> Self {
        self.config.work_timeout = timeout;
        self
    }

    /// Largest encoded message, in and out; 256,000 bytes.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.config.max_payload_bytes = bytes;
        self
    }

    /// Messages taken from one account per second, and at once; 5 and 10. A rate or burst of nothing is refused at the
    /// start: [`no_rate_limit`](Self::no_rate_limit) takes any number, and an agent without a handler takes none.
    pub fn rate_limit(mut self, per_second: f64, burst: u32) -> Self {
        self.config.guards.rate = Some((per_second, burst));
        self
    }

    /// Takes any number of messages from an account.
    pub fn no_rate_limit(mut self) -> Self {
        self.config.guards.rate = None;
        self
    }

    /// How long message ids and idempotency keys are remembered; 600 s.
    pub fn dedupe_ttl(mut self, ttl: Duration) -> Self {
        self.config.guards.dedupe_ttl = ttl;
        self
    }

    /// How many message ids, and idempotency keys, are remembered at most; 100,000. Beyond that the oldest go.
    pub fn dedupe_max(mut self, entries: usize) -> Self {
        self.config.guards.dedupe_max = entries;
        self
    }

    /// So many failures in a row make the node refuse messages for so long; 5 and 15 s.
    pub fn circuit_breaker(mut self, failures: u32, reset: Duration) -> Self {
        (self.config.guards.breaker_failures, self.config.guards.breaker_reset) = (failures, reset);
        self
    }

    /// How long closing waits for handlers; 20 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.config.drain_timeout = timeout;
        self
    }

    /// How long closing waits for confirmations; 5 s.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.config.flush_timeout = timeout;
        self
    }

    /// How long a receipt may take; 1.5 s, at least 0.2 s.
    pub fn receipt_timeout(mut self, timeout: Duration) -> Self {
        self.config.receipt_timeout = timeout.max(MIN_RECEIPT_TIMEOUT);
        self
    }

    /// Further copies of an unconfirmed message before it is reported; 2.
    pub fn retry_attempts(mut self, attempts: u32) -> Self {
        self.config.retry_attempts = attempts;
        self
    }

    /// How long a reply may take; 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Time to live of messages that name none; 30 s.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.default_ttl = ttl;
        self
    }

    /// How often to say hello, unless the registry names another interval; 12 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.config.heartbeat = interval;
        self
    }

    /// How long the account of a username is remembered; 60 s, 0 for not at all.
    pub fn resolve_cache_ttl(mut self, ttl: Duration) -> Self {
        self.config.resolve_cache_ttl = ttl;
        self
    }

    /// How much may wait for confirmation, in messages and bytes; 1024 and 64 MiB.
    pub fn outbox(mut self, messages: usize, bytes: usize) -> Self {
        (self.config.outbox_max, self.config.outbox_bytes) = (messages, bytes);
        self
    }

    /// What `send` does when the outbox is full; it waits.
    pub fn outbox_policy(mut self, policy: OutboxPolicy) -> Self {
        self.config.outbox_policy = policy;
        self
    }

    /// Keeps what isn't confirmed in this file, too, so that it outlives a crash of the process: a send is on the disk
    /// before it leaves, and `queued` returns only then. The next process of the agent that names the file sends the
    /// same bytes on until they are stored or their time is over; [`AgentNode::left_over`] follows them. Requests, whose
    /// answer nobody would wait for, and refusals of them aren't kept.
    ///
    /// The file belongs to one account, one process at a time and nobody else (0600); a lock beside it ends in `.lock`.
    /// It has at most twice the bytes of the [outbox](Self::outbox), a megabyte and a batch, and as much as the outbox
    /// holds again while it is written anew. When the disk is full, sends fail with
    /// [`ErrorKind::File`](crate::ErrorKind::File), and nothing that was taken is dropped.
    pub fn outbox_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.outbox_file = Some(path.into());
        self
    }

    /// Remembers what was handled in this file, too: a message that is delivered again after a restart isn't handled
    /// again, and is answered as before. Message ids and idempotency keys are kept for [`dedupe_ttl`](Self::dedupe_ttl),
    /// at most [`dedupe_max`](Self::dedupe_max) of each; 10 minutes unless set, which long times to live may exceed.
    ///
    /// A handler's end is on the disk before it is told. What a crash interrupts before is handled again, as
    /// [`Incoming::attempt`] says. The file is as private as that of the outbox.
    pub fn dedupe_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.dedupe_file = Some(path.into());
        self
    }

    /// Who the agent is. Unless set: where the network wants signatures, the identity named after the username, else
    /// after the agent_id, which is made on first use ([`Identity::open_or_create`]). An account that is made for the
    /// agent gets the identity's name as its username, unless it asks for [another](Self::username).
    pub fn identity(mut self, identity: Identity) -> Self {
        self.config.identity = Some(identity);
        self
    }

    /// Comes as a [guest](Identity::guest): with a key and a name for this process only.
    pub fn guest(self) -> Self {
        self.identity(Identity::guest())
    }

    /// As [`identity`](Self::identity), read or made when the node starts.
    pub fn identity_name(mut self, name: impl Into<String>) -> Self {
        self.config.identity_name = Some(name.into());
        self
    }

    /// The least strict mode of a network that the agent goes along with; `AGENTNET_SECURITY`, else what `DEV_AUTH` says,
    /// else any. The node then does what the network's own mode asks for.
    pub fn security(mut self, security: Security) -> Self {
        self.config.security = Some(security);
        self
    }

    /// The name of the network that the agent expects; `AGENTNET_DEPLOYMENT`, else what the registry says.
    pub fn deployment(mut self, deployment: Deployment) -> Self {
        self.config.deployment = Some(deployment);
        self
    }

    /// Signs for original SDKs, too (`dev-ed25519-v1`), and takes no network that doesn't want signatures; as `DEV_AUTH`
    /// says unless set.
    pub fn dev_auth(mut self, on: bool) -> Self {
        self.config.dev_auth = on;
        self
    }

    /// Leave to register, for a key that the network doesn't know; `AGENTNET_ENROLMENT_TOKEN` unless set.
    pub fn enrolment_token(mut self, token: impl Into<String>) -> Self {
        self.config.enrolment_token = Some(agentnet_proto::rpc::EnrolmentToken::new(token));
        self
    }

    /// Where the signing key is kept; `DEV_AUTH_KEY_DIR`, else `.keys`.
    pub fn key_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.key_dir = dir.into();
        self
    }

    /// The clock that timestamps are made from and judged by; the machine's unless set.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// The generator of ids; random unless set.
    pub fn ids(mut self, ids: SharedIds) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Whether whoever reaches the network may be anybody there.
    #[cfg(feature = "serve_p2p")]
    pub(crate) fn is_open(&self) -> bool {
        !self.config.wanted_security().is_ok_and(Security::wants_signatures)
    }

    /// Connects, registers, subscribes and says hello.
    ///
    /// # Errors
    /// As [`connect`](crate::connect::connect); [`ErrorKind::RegistryUnavailable`] at once when no registry runs; what the registry refused;
    /// [`ErrorKind::InvalidCapability`] for a capability that can't be addressed; [`ErrorKind::File`] when the file of
    /// the outbox or of the dedupe is in use, another account's, damaged, or can't be written.
    pub async fn start(self) -> Result<AgentNode, Error> {
        let Self { mut config, nats, mut handling, clock, ids, exit_hook, task_offer, tasks } = self;
        if let Some(worker) = tasks {
            config.metadata.insert(TASKS_METADATA.to_owned(), task_offer.to_metadata());
            let take = handler_of(move |message| worker.clone().take(message));
            handling.named.push((On::kind(TASK_KIND), AnyHandler::Message(take)));
        }
        if config.agent_id.trim().is_empty() {
            return Err(Error::of(agentnet_proto::ErrorCode::AgentIdRequired, "an agent needs an agent_id"));
        }
        if let Some((per_second, burst)) = config.guards.rate
            && !(per_second > 0.0 && per_second.is_finite() && burst > 0)
        {
            let detail =
                "rate_limit needs a rate and a burst above 0; no_rate_limit takes any number of messages";
            return Err(Error::new(ErrorKind::InvalidArgument, detail));
        }
        if let Some(via) = &config.via {
            config.metadata.insert("via".to_owned(), Value::String(via.clone()));
        }
        let capabilities =
            config.capabilities.iter().map(|name| capability(name)).collect::<Result<Vec<_>, _>>()?;
        let files = Files::open(&config, clock.as_ref()).await?;
        let entrance = Entrance::open(nats, &mut config).await?;
        let ids = ids.unwrap_or_else(|| Arc::new(SystemIds::new(Arc::clone(&clock))));
        Parts { config, clock, ids, handling, capabilities, files, exit_hook }.start(entrance).await
    }

    /// [`start`](Self::start), then serves until Ctrl-C or SIGTERM and closes in order.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`AgentNode::close`].
    pub async fn start_forever(self) -> Result<(), Error> {
        self.start().await?.serve_forever().await
    }
}

fn capability(name: &str) -> Result<Capability, Error> {
    match crate::target::Target::capability(name)? {
        crate::target::Target::Capability(name) => Ok(name),
        _ => Err(Error::new(ErrorKind::InvalidCapability, "not a capability")),
    }
}
