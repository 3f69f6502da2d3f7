//! Agents asked by name for their work, or for what it would take: one question, one answer, any number at once.
//!
//! ```no_run
//! use agentnet::{AgentNode, P2p, P2pHandlers};
//! use serde_json::json;
//!
//! # async fn run() -> Result<(), agentnet::Error> {
//! let handlers = P2pHandlers::new(|task| async move { Ok(json!({"done": task})) })
//!     .named("images", |task| async move { Ok(json!({"seen": task})) })
//!     .estimate(|query| async move { Ok(json!({"seconds": 3, "of": query})) });
//! let worker = handlers.serve(AgentNode::builder("agent_123"), 4).start().await?;
//!
//! let node = AgentNode::builder("asker").start().await?;
//! let p2p = P2p::new(&node);
//! let answer = p2p.send_recv("agent_123", json!({"type": "ping"})).await?;
//! println!("{}", answer.get());
//! # let _ = worker;
//! # Ok(())
//! # }
//! ```
//!
//! Over HTTP and WebSocket the gateway offers the same under `/p2p`; with the feature `serve_p2p` an agent serves ports of its
//! own, too (`P2pServer`), and with the feature `estimator` `AgentEstimator` asks over HTTP without joining the network.

mod ask;
#[cfg(feature = "estimator")]
mod estimator;
mod files;
mod form;
mod handlers;
#[cfg(feature = "serve_p2p")]
mod server;

use serde_json::{Value, json};

pub use ask::P2p;
#[cfg(feature = "estimator")]
pub use estimator::AgentEstimator;
pub use files::P2pFile;
pub use form::{P2pForm, p2p_query};
pub use handlers::{P2pHandlers, P2pTask};
#[cfg(feature = "serve_p2p")]
pub use server::{P2pServer, RunningP2p, serve_p2p};

/// What an agent is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum P2pCall {
    /// Its work.
    Api,
    /// What its work would take.
    Estimate,
    /// A message.
    Message,
}

impl P2pCall {
    /// The word in the payload's `p2p`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Estimate => "estimate",
            Self::Message => "message",
        }
    }

    /// The payload of a question: the content, for what it is asked, and the handler that the content names.
    fn payload(self, content: &Value) -> Value {
        json!({"p2p": self.as_str(), "handler": content.get("handler").and_then(Value::as_str), "data": content})
    }
}
