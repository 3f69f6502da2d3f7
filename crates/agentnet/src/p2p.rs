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
//! Over HTTP and WebSocket the gateway offers the same under `/p2p`.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use agentnet_proto::Payload;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::Error,
    inbox::{HandlerError, HandlerResult, Incoming},
    node::{AgentNode, AgentNodeBuilder},
    send::{Stage, payload_of},
    target::IntoTarget,
};

/// How long an answer may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);

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

/// Asks agents by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct P2p {
    node: AgentNode,
    timeout: Duration,
}

impl P2p {
    /// Asks as this agent; an answer may take 30 s.
    #[must_use]
    pub fn new(node: &AgentNode) -> Self {
        Self { node: node.clone(), timeout: TIMEOUT }
    }

    /// The same with another time for answers.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a message and waits for the answer.
    ///
    /// # Errors
    /// As a request: an agent that isn't there, or doesn't answer in time, is an error, and never waited for longer.
    pub async fn send_recv<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        message: T,
    ) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Message, message).await
    }

    /// Sends a message and waits for nothing but that the network keeps it. Returns its id.
    ///
    /// # Errors
    /// As a send.
    pub async fn send<T: Serialize>(&self, agent: impl IntoTarget, message: T) -> Result<String, Error> {
        let payload = P2pCall::Message.payload(&payload_of(&message)?.value());
        Ok(self.node.send(agent, payload).until(Stage::Stored).await?.message_id)
    }

    /// Asks for work. A `handler` in the data names one of the agent's handlers.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn send_api<T: Serialize>(&self, agent: impl IntoTarget, data: T) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Api, data).await
    }

    /// Asks what work would take.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn estimate<T: Serialize>(&self, agent: impl IntoTarget, query: T) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Estimate, query).await
    }

    /// Asks for any of the three.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn call<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        call: P2pCall,
        content: T,
    ) -> Result<Payload, Error> {
        let payload = call.payload(&payload_of(&content)?.value());
        let reply = self.node.request(agent, payload).timeout(self.timeout).await?;
        Ok(reply.payload().clone())
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Value, HandlerError>> + Send>>;
type P2pHandler = Arc<dyn Fn(Value) -> Answer + Send + Sync>;

/// Answers questions of all kinds: the handler that the content names, else the default one; estimates by a handler of
/// their own, if there is one.
#[derive(Clone)]
pub struct P2pHandlers {
    default: P2pHandler,
    named: HashMap<String, P2pHandler>,
    estimate: Option<P2pHandler>,
}

fn boxed<F, Fut>(handler: F) -> P2pHandler
where
    F: Fn(Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
{
    Arc::new(move |content| Box::pin(handler(content)))
}

impl P2pHandlers {
    /// A handler for everything. Its error becomes `handler_error` at the one who asked; details stay here.
    pub fn new<F, Fut>(default: F) -> Self
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        Self { default: boxed(default), named: HashMap::new(), estimate: None }
    }

    /// A handler for what names it in `handler`.
    #[must_use]
    pub fn named<F, Fut>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        self.named.insert(name.into(), boxed(handler));
        self
    }

    /// A handler for estimates.
    #[must_use]
    pub fn estimate<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        self.estimate = Some(boxed(handler));
        self
    }

    /// An agent that answers with these, `max_threads` questions at once; others wait.
    pub fn serve(self, builder: AgentNodeBuilder, max_threads: usize) -> AgentNodeBuilder {
        let handlers = Arc::new(self);
        builder.max_concurrency(max_threads).on_message(move |message| {
            let handlers = Arc::clone(&handlers);
            async move { handlers.answer(message).await }
        })
    }

    /// Answers one message. One that isn't a question of this kind goes to the default handler as it is.
    ///
    /// # Errors
    /// The handler's; as [`Incoming::reply`].
    pub async fn answer(&self, message: Incoming) -> HandlerResult {
        let payload = message.payload().value();
        let (handler, content) = self.choose(payload);
        let answer = handler(content).await?;
        if message.wants_reply() {
            message.reply(answer).await?;
        }
        Ok(())
    }

    fn choose(&self, payload: Value) -> (&P2pHandler, Value) {
        let Value::Object(mut fields) = payload else { return (&self.default, payload) };
        let Some(call) = fields.get("p2p").and_then(Value::as_str) else {
            return (&self.default, Value::Object(fields));
        };
        let named = fields.get("handler").and_then(Value::as_str).and_then(|name| self.named.get(name));
        let handler = match (&self.estimate, named) {
            (Some(estimate), _) if call == P2pCall::Estimate.as_str() => estimate,
            (_, Some(named)) => named,
            _ => &self.default,
        };
        (handler, fields.remove("data").unwrap_or_default())
    }
}

impl std::fmt::Debug for P2pHandlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("P2pHandlers").field("named", &self.named.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_handler_that_is_named_answers() {
        let says = |what: &'static str| move |content: Value| async move { Ok(json!([what, content])) };
        let handlers =
            P2pHandlers::new(says("default")).named("images", says("images")).estimate(says("estimate"));
        let ask = async |payload: Value| {
            let (handler, content) = handlers.choose(payload);
            handler(content).await.unwrap()
        };
        let task = json!({"handler": "images", "n": 1});
        assert_eq!(ask(P2pCall::Api.payload(&task)).await, json!(["images", task]));
        assert_eq!(ask(P2pCall::Estimate.payload(&task)).await, json!(["estimate", task]));
        let other = json!({"handler": "unknown"});
        assert_eq!(ask(P2pCall::Message.payload(&other)).await, json!(["default", other]));
        assert_eq!(ask(json!({"text": "plain"})).await, json!(["default", {"text": "plain"}]));
        assert_eq!(ask(json!(3)).await, json!(["default", 3]));
    }
}
