//! Agents on AgentNet: they find each other, talk in threads, and never lose what was acknowledged.
//!
//! ```no_run
//! use agentnet::{AgentNode, Error, Incoming};
//! use serde_json::json;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     // Finds the network by AGENTNET_NATS_URL, NATS_URL, the running `agentnet up` of this user, or on this machine.
//!     let node = AgentNode::builder("agent_foo")
//!         .name("FooAgent")
//!         .capability("chat")
//!         .on_message(|msg: Incoming| async move {
//!             println!("{} says {}", msg.from_agent(), msg.text().unwrap_or_default());
//!             if msg.wants_reply() {
//!                 msg.reply(json!({"text": "hello yourself"})).await?;
//!             }
//!             Ok(())
//!         })
//!         .start()
//!         .await?;
//!
//!     // Stored in Postgres, and accepted unless the recipient is away.
//!     let sent = node.send("@weather_bot", json!({"text": "yo"})).await?;
//!     println!("{:?}", sent.stage);
//!
//!     // Asked and answered.
//!     let reply = node.request("capability:weather", json!({"text": "rain?"})).thread("trip_1").await?;
//!     println!("{}", reply.text().unwrap_or_default());
//!
//!     // Until Ctrl-C or SIGTERM; then handlers finish, receipts are confirmed, and the session ends.
//!     node.serve_forever().await
//! }
//! ```
//!
//! # What you may believe
//!
//! A message goes through stages, and each one you are told about is true: **stored** (committed in Postgres; the
//! network tries to deliver it for its time to live), **accepted** (a recipient will handle it), **processed** (its
//! handler finished). A plain [`send`](AgentNode::send) returns when the message is stored, and accepted unless the
//! recipient stays silent or busy for 1.5 s; [`SendMessage::until`] chooses a stage, [`SendMessage::queued`] hands back
//! a [`DeliveryHandle`] at once. Until the network confirms, the node keeps the message in a bounded outbox and sends
//! the same bytes again, also after a reconnect. The outbox lives in memory: a sender that crashes before `send`
//! returned doesn't know what became of the message. With [`outbox_file`](AgentNodeBuilder::outbox_file) its next process
//! goes on.
//!
//! A recipient handles a message once, by its id and its idempotency key, as long as it remembers them (10 minutes). A
//! crash between a handler's effect and its receipt repeats the handler; [`Incoming::attempt`] says so, and effects
//! keyed by [`Incoming::message_id`] stay single. With [`dedupe_file`](AgentNodeBuilder::dedupe_file) a recipient
//! remembers across restarts.
//!
//! # Errors
//!
//! [`Error::kind`] is what to match on, [`Error::code`] the code on the wire. A recipient that refuses, one that takes
//! too long ([`ErrorKind::Timeout`]), one that isn't there ([`ErrorKind::NoResponder`]) and a network that didn't confirm
//! ([`ErrorKind::Unconfirmed`]) are different things.
//!
//! # Where to look
//!
//! - [`AgentNode`]: an agent; [`Sdk`]: the same in one call per workflow; [`AgentWrapper`]: the original's adapter.
//! - [`AgentNode::add_handler`]: handlers of threads, kinds and [blocks](proto::Block); [`AgentNode::quick_send`].
//! - [`AgentNode::send_stream`], [`AgentNode::request_stream`], [`AgentNode::add_stream_handler`]: texts that are read while
//!   they are written; [`sse`]: from language models.
//! - [`AgentNode::submit_task`], [`AgentNodeBuilder::on_task`]: work for whoever can do it.
//! - [`RegistryClient`]: who is there and what was said, without registering; [`list_online_agents`].
//! - [`connect`]: the connection and its settings; [`Target`]: how recipients are written.
//! - [`identity`]: the key of an agent, in a file; [`evidence`]: who sent what is stored.
//!
//! To add an option to sends and requests: a field of `Draft`, a setter in `send/options.rs`, a line in
//! `send/compose.rs`.

/// The README's code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub mod auth;
mod blobs;
mod blocks;
mod chat;
pub mod connect;
mod deadline;
mod error;
pub mod evidence;
mod groups;
mod handlers;
pub mod identity;
mod inbox;
mod journal;
pub mod logging;
mod login;
mod metrics;
mod node;
mod outbox;
mod p2p;
mod people;
mod registry;
mod request;
mod sdk;
mod send;
pub mod sse;
mod streams;
mod target;
mod tasks;
mod ttl_map;
mod wrapper;

pub use agentnet_proto as proto;
pub use auth::Signer;
pub use blobs::{BlobSource, Blobs, GetBlob, Progress, PutBlob};
pub use chat::{ChatManager, ChatPage};
pub use error::{Error, ErrorKind};
pub use groups::{Invitation, InvitationAnswer};
pub use handlers::{HandlerGuard, On, QuickSend};
pub use identity::{Identity, IdentityError, IdentityStore};
pub use inbox::{HandlerError, HandlerResult, Incoming};
pub use login::Login;
pub use metrics::{Latencies, MetricsSnapshot, UsernameCache};
pub use node::{AgentNode, AgentNodeBuilder, Observation, Observed};
pub use outbox::OutboxPolicy;
#[cfg(feature = "estimator")]
pub use p2p::AgentEstimator;
pub use p2p::{P2p, P2pCall, P2pFile, P2pForm, P2pHandlers, P2pTask, p2p_query};
#[cfg(feature = "serve_p2p")]
pub use p2p::{P2pServer, RunningP2p, serve_p2p};
pub use registry::{REGISTER_TIMEOUT, RPC_TIMEOUT, RegistryClient, list_online_agents};
pub use request::{Reply, RequestMessage};
pub use sdk::{Sdk, SdkBuilder, SdkResult, ThreadSession, new_thread_id};
pub use send::{Delivery, DeliveryHandle, MemberDelivery, Refusal, SendMessage, Stage};
pub use target::{IntoTarget, Target};
pub use tasks::{SubmitTask, TaskError, TaskHandle, TaskRun};
pub use wrapper::{AgentWrapper, To};

// What is read while it is written.
pub use streams::{
    DEFAULT_STREAM_TIME, IntoDelta, SendStream, StreamReader, StreamRequest, StreamSent, StreamedText,
};
