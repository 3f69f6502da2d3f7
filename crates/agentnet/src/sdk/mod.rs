//! The high-level SDK: common agent workflows in one call each.

mod directory;
mod result;
mod talk;
mod tasks;
mod thread;

use std::{fmt, future::Future, ops::Deref, time::Duration};

use agentnet_proto::{IdGen as _, SystemClock, SystemIds};

pub use result::SdkResult;
pub use thread::ThreadSession;

use crate::{
    error::Error,
    inbox::{HandlerResult, Incoming},
    node::{AgentNode, AgentNodeBuilder},
};

/// How long [`Sdk::ask_text`] and [`Sdk::ask_json`] wait, as in the original.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// An agent with the calls that tools and scripts need, beside all those of [`AgentNode`]: threads, handlers, streams,
/// files, friends, blocks, documents, ... are the node's own, so that there is one of each. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), agentnet::Error> {
/// use agentnet::Sdk;
///
/// let sdk = Sdk::builder("agent_a").name("Agent A").start().await?;
/// let answer = sdk.ask_text("@mesh_agent_1", "Analyze spread and total", Some("ops_1")).await?;
/// println!("{}", answer.text);
/// let mut thread = sdk.thread("ops_1");
/// thread.send_text("@mesh_agent_1", "Confirm your final pick").await?;
/// sdk.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sdk {
    node: AgentNode,
    ask_timeout: Duration,
}

/// An [`Sdk`] to be.
#[must_use = "nothing happens before `start`"]
pub struct SdkBuilder {
    node: AgentNodeBuilder,
    ask_timeout: Duration,
}

impl SdkBuilder {
    /// Display name; the agent id unless set.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.node(|node| node.name(name))
    }

    /// Wanted username; made from the agent id unless set.
    pub fn username(self, username: impl Into<String>) -> Self {
        self.node(|node| node.username(username))
    }

    /// Sets the capabilities.
    pub fn capabilities<I: IntoIterator<Item = S>, S: Into<String>>(self, names: I) -> Self {
        self.node(|node| node.capabilities(names))
    }

    /// Where NATS is; [`default_nats_url`](crate::connect::default_nats_url) unless set.
    pub fn nats_url(self, url: impl Into<String>) -> Self {
        self.node(|node| node.nats_url(url))
    }

    /// What to do with messages; see [`AgentNodeBuilder::on_message`].
    pub fn receive<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        self.node(|node| node.on_message(handler))
    }

    /// How long an answer may take; 60 s.
    pub fn ask_timeout(mut self, timeout: Duration) -> Self {
        self.ask_timeout = timeout;
        self
    }

    /// Any other option of the node below.
    pub fn node(mut self, change: impl FnOnce(AgentNodeBuilder) -> AgentNodeBuilder) -> Self {
        self.node = change(self.node);
        self
    }

    /// Connects and registers.
    ///
    /// # Errors
    /// As [`AgentNodeBuilder::start`].
    pub async fn start(self) -> Result<Sdk, Error> {
        Ok(Sdk { node: self.node.start().await?, ask_timeout: self.ask_timeout })
    }
}

impl Sdk {
    /// An SDK to be.
    pub fn builder(agent_id: impl Into<String>) -> SdkBuilder {
        SdkBuilder { node: AgentNode::builder(agent_id), ask_timeout: ASK_TIMEOUT }
    }

    /// The SDK of a node that runs already.
    pub fn of(node: AgentNode) -> Self {
        Self { node, ask_timeout: ASK_TIMEOUT }
    }

    /// The node below.
    pub fn node(&self) -> &AgentNode {
        &self.node
    }

    /// Ends the session in order.
    ///
    /// # Errors
    /// As [`AgentNode::close`].
    pub async fn stop(&self) -> Result<(), Error> {
        self.node.close().await
    }

    /// A thread to talk in: remembers the last message, so that each one follows the one before.
    pub fn thread(&self, thread_id: impl Into<String>) -> ThreadSession {
        ThreadSession::new(self.clone(), thread_id.into())
    }

    /// A new thread id.
    pub fn new_thread_id(&self) -> String {
        format!("thread_sdk_{}", self.node.inner.ids.ulid_lower())
    }
}

/// Whatever a node does, its SDK does.
impl Deref for Sdk {
    type Target = AgentNode;

    fn deref(&self) -> &AgentNode {
        &self.node
    }
}

impl fmt::Debug for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sdk").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A new thread id, for callers without an SDK: `thread_sdk_` and a lower-case ULID.
pub fn new_thread_id() -> String {
    format!("thread_sdk_{}", SystemIds::new(SystemClock::shared()).ulid_lower())
}
