//! Answering.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use agentnet_proto::BlobRef;
use serde_json::Value;

use super::{P2pCall, files::FIELD};
use crate::{
    blobs::{Blobs, GetBlob},
    inbox::{HandlerError, HandlerResult, Incoming},
    node::AgentNodeBuilder,
};

type Answer = Pin<Box<dyn Future<Output = Result<Value, HandlerError>> + Send>>;
type P2pHandler = Arc<dyn Fn(P2pTask) -> Answer + Send + Sync>;

/// What a handler is asked.
#[derive(Debug, Clone)]
pub struct P2pTask {
    /// What was sent.
    pub content: Value,
    blobs: Blobs,
}

impl P2pTask {
    pub(super) fn new(content: Value, blobs: Blobs) -> Self {
        Self { content, blobs }
    }

    /// References to the files that came with it, by name.
    #[must_use]
    pub fn files(&self) -> Vec<(String, BlobRef)> {
        let Some(files) = self.content.get(FIELD).and_then(Value::as_object) else { return Vec::new() };
        let list = |value: &Value| match value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        files
            .iter()
            .flat_map(|(name, value)| list(value).into_iter().map(move |one| (name.clone(), one)))
            .filter_map(|(name, one)| Some((name, BlobRef::of(&one)?)))
            .collect()
    }

    /// Gets a file that came with it: all of it or a range, as bytes, into a file, or to a writer.
    pub fn get_file<'a>(&self, file: &BlobRef) -> GetBlob<'a> {
        self.blobs.get(&file.blob_id)
    }
}

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
    Arc::new(move |task: P2pTask| Box::pin(handler(task.content)))
}

fn whole<F, Fut>(handler: F) -> P2pHandler
where
    F: Fn(P2pTask) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
{
    Arc::new(move |task| Box::pin(handler(task)))
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

    /// As [`new`](Self::new), for a handler that reads the files, too.
    pub fn of_tasks<F, Fut>(default: F) -> Self
    where
        F: Fn(P2pTask) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        Self { default: whole(default), named: HashMap::new(), estimate: None }
    }

    /// As [`named`](Self::named), for a handler that reads the files, too.
    #[must_use]
    pub fn named_task<F, Fut>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(P2pTask) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        self.named.insert(name.into(), whole(handler));
        self
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
        let blobs = message.node.blobs();
        let answer = self.work(message.payload().value(), blobs).await?;
        if message.wants_reply() {
            message.reply(answer).await?;
        }
        Ok(())
    }

    /// What the handler that the payload means says.
    pub(super) async fn work(&self, payload: Value, blobs: Blobs) -> Result<Value, HandlerError> {
        let (handler, content) = self.choose(payload);
        handler(P2pTask::new(content, blobs)).await
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
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_handler_that_is_named_answers() {
        let says = |what: &'static str| move |content: Value| async move { Ok(json!([what, content])) };
        let handlers =
            P2pHandlers::new(says("default")).named("images", says("images")).estimate(says("estimate"));
        let ask = async |payload: Value| {
            let (handler, content) = handlers.choose(payload);
            let link = async_nats::ConnectOptions::new()
                .retry_on_initial_connect()
                .connect("127.0.0.1:1")
                .await
                .unwrap();
            let blobs = crate::RegistryClient::new(link).blobs(None);
            handler(P2pTask::new(content, blobs)).await.unwrap()
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
