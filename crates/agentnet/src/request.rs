//! Requests and the replies to them.

use std::{
    collections::HashMap,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Capability, Envelope, Payload, Subject, Token,
    envelope::{MAX_TTL, kind},
    rpc::{ListRequest, ProfileRequest},
};
use async_nats::Message;
use serde::de::DeserializeOwned;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    node::{AgentNode, Inner},
    outbox::{Progress, is_one_holders},
    send::{DeliveryHandle, Draft, MIN_RECEIPT_TIMEOUT, Patience, Route, draft_options},
    streams::Following,
    target::{IntoTarget, Target},
};

/// How long a refusal's receipt waits for the reply that may be right behind it: they travel on two subscriptions.
const REFUSAL_GRACE: Duration = Duration::from_millis(100);

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    envelope: Envelope,
}

impl Reply {
    /// The whole envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The reply's own id.
    pub fn message_id(&self) -> &str {
        &self.envelope.message_id
    }

    /// The thread.
    pub fn thread_id(&self) -> &str {
        self.envelope.thread_id.as_deref().unwrap_or_default()
    }

    /// Who answered.
    pub fn from_account(&self) -> Option<&str> {
        self.envelope.from_account_id.as_deref()
    }

    /// The content.
    pub fn payload(&self) -> &Payload {
        &self.envelope.payload
    }

    /// The payload's `text`, or the payload itself if it is a string.
    pub fn text(&self) -> Option<String> {
        self.envelope.payload.as_text()
    }

    /// The payload read as a type.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] when it has another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.envelope.payload.parse().map_err(|e| {
            Error::of(agentnet_proto::ErrorCode::InvalidEnvelope, "the reply's payload has another shape")
                .message(&self.envelope.message_id)
                .source_of(e)
        })
    }

    /// The envelope, by value.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }
}

#[derive(Debug)]
struct Waiting {
    message_id: String,
    /// Who may answer; anybody when the request went to a capability.
    from: Option<AccountId>,
    /// The capability it went to.
    capability: Option<Capability>,
    answer: oneshot::Sender<Envelope>,
}

/// Requests of this session that wait for their reply, by the token of their reply subject: one subscription serves
/// them all.
#[derive(Debug)]
pub(crate) struct Requests {
    waiting: Mutex<HashMap<String, Waiting>>,
    max: usize,
}

impl Requests {
    pub(crate) fn new(max: usize) -> Self {
        Self { waiting: Mutex::default(), max }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the map when the request's future ends or is dropped.
struct Registered<'a> {
    requests: &'a Requests,
    token: String,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.token);
    }
}

impl Inner {
    /// Takes one message from the account's reply subjects. Other sessions of the account hear it too.
    pub(crate) async fn take_reply(&self, message: &Message) {
        if message.status.is_some() {
            return;
        }
        let Some(token) = message.subject.rsplit('.').next() else { return };
        let Some(capability) = self.requests.lock().get(token).map(|request| request.capability.clone())
        else {
            return;
        };
        let reply = match Envelope::decode(&message.payload) {
            Ok(reply) if message.payload.len() <= self.config.max_payload_bytes => reply,
            _ => {
                self.metrics.replies_refused.up();
                return tracing::warn!(
                    bytes = message.payload.len(),
                    "reply refused: not an envelope, or too large"
                );
            }
        };
        if !self.is_answer(token, &reply) {
            self.metrics.replies_refused.up();
            let from = reply.from_account_id.as_deref().unwrap_or_default();
            return tracing::warn!(from, "reply refused: from another account, or for another request");
        }
        let capability = capability.as_ref().map(AsRef::as_ref);
        if let Err(unproved) = self.auth.check_reply(&reply, capability, message, &self.registry).await {
            self.metrics.replies_refused.up();
            return self.metrics.unproved(&unproved, &reply);
        }
        if self.is_one_holders(token, &reply) {
            return tracing::debug!(from = reply.from_account_id, "one holder refused: another may answer");
        }
        if let Some(request) = self.requests.lock().remove(token) {
            // Nobody waits any more: the request timed out at this moment.
            let _ = request.answer.send(reply);
        }
    }

    /// Whether the reply is from whom the request went to, about it, and for this account.
    fn is_answer(&self, token: &str, reply: &Envelope) -> bool {
        let waiting = self.requests.lock();
        let Some(request) = waiting.get(token) else { return false };
        let to = reply.to_account_id.as_deref();
        let is_for_me = !self.auth.checks() || to.is_none_or(|to| to == self.account.as_str());
        is_for_me && answers(reply, &request.message_id, request.from.as_ref())
    }

    /// Whether one holder of a capability refuses the request for itself alone: the network offers it to another.
    fn is_one_holders(&self, token: &str, reply: &Envelope) -> bool {
        let is_for_any = self.requests.lock().get(token).is_some_and(|request| request.from.is_none());
        is_for_any && reply.kind == kind::ERROR && is_one_holders(error_of(reply).code())
    }

    /// Whether a session that could answer is online.
    async fn somebody_is_online(&self, route: &Route) -> Result<bool, Error> {
        match route {
            Route::Account(id) => {
                let request = ProfileRequest { account_id: Some(id.to_string()), username: None };
                match self.registry.profile(&request).await {
                    Ok(profile) => Ok(profile.online),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Route::Capability(name) => {
                let request = ListRequest {
                    capability: Some(name.to_string()),
                    limit: Some(100),
                    ..ListRequest::default()
                };
                let agents = self.registry.list(&request).await?.agents;
                // Registries of older versions ignore the filter.
                Ok(agents.iter().any(|agent| agent.capabilities.iter().any(|c| c == name.as_str())))
            }
            Route::Thread(..) => Ok(true),
        }
    }
}

/// Whether `reply` answers that request: from whom it was asked, for that message.
fn answers(reply: &Envelope, message_id: &str, from: Option<&AccountId>) -> bool {
    let from_whom = from.is_none_or(|id| reply.from_account_id.as_deref() == Some(id.as_str()));
    let for_it = match reply.parent_message_id.as_deref() {
        Some(parent) => parent == message_id,
        None => {
            reply.payload.value().get("request_message_id").and_then(serde_json::Value::as_str)
                == Some(message_id)
        }
    };
    from_whom && for_it
}

/// An error reply as the error it tells.
fn error_of(reply: &Envelope) -> Error {
    let payload = reply.payload.value();
    let text = |name: &str| payload.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let code = if text("error").is_empty() { "internal" } else { text("error") };
    Error::of_code(code, text("detail"))
        .message(reply.parent_message_id.as_deref().unwrap_or(text("request_message_id")))
        .trace(reply.trace_id.as_deref())
}

/// A request about to be sent: set options, then `.await` for the reply.
///
/// # Errors
/// - what the one asked refused or failed with: [`ErrorKind::Busy`], [`ErrorKind::RateLimited`],
///   [`ErrorKind::HandlerError`], ... with its code;
/// - [`ErrorKind::NoResponder`]: nobody accepted the request within the receipt timeout, and the registry knows no
///   session online that could;
/// - [`ErrorKind::Timeout`]: somebody may be at work, but the reply didn't come in time;
/// - as for [`SendMessage`](crate::SendMessage) what can be told before.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct RequestMessage<'a> {
    node: &'a AgentNode,
    target: Result<Target, Error>,
    payload: Result<Payload, Error>,
    draft: Draft,
    timeout: Duration,
    receipt_timeout: Duration,
    /// The stream on which the reply is read while it is written.
    stream: Option<Arc<Following>>,
}

/// A request that is on its own.
pub(crate) struct Asking {
    target: Result<Target, Error>,
    payload: Result<Payload, Error>,
    draft: Draft,
    timeout: Duration,
    receipt_timeout: Duration,
    stream: Arc<Following>,
}

impl Asking {
    pub(crate) async fn ask(self, node: &AgentNode) -> Result<Reply, Error> {
        let Self { target, payload, draft, timeout, receipt_timeout, stream } = self;
        let stream = Some(stream);
        RequestMessage { node, target, payload, draft, timeout, receipt_timeout, stream }.run().await
    }
}

impl<'a> RequestMessage<'a> {
    pub(crate) fn new(node: &'a AgentNode, target: impl IntoTarget, payload: Result<Payload, Error>) -> Self {
        let config = &node.inner.config;
        Self {
            node,
            target: target.into_target(),
            payload,
            draft: Draft::new(kind::REQUEST, Payload::default()),
            timeout: config.request_timeout,
            receipt_timeout: config.receipt_timeout,
            stream: None,
        }
    }

    draft_options!();

    pub(crate) fn node(&self) -> &'a AgentNode {
        self.node
    }

    /// The same, with its reply on a stream.
    pub(crate) fn on_stream(self, stream: Arc<Following>) -> Asking {
        let Self { target, payload, mut draft, timeout, receipt_timeout, .. } = self;
        draft.reply_stream = Some(stream.id.clone());
        Asking { target, payload, draft, timeout, receipt_timeout, stream }
    }

    /// How long the reply may take; 5 s unless set. The request lives no longer than that.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a receipt may take before the registry is asked whether anybody is there; at least 0.2 s.
    pub fn receipt_timeout(mut self, timeout: Duration) -> Self {
        self.receipt_timeout = timeout.max(MIN_RECEIPT_TIMEOUT);
        self
    }

    async fn run(self) -> Result<Reply, Error> {
        let inner = &self.node.inner;
        let started = Instant::now();
        let deadline = after(started, self.timeout);
        let timeout = self.timeout;
        let mut draft = self.draft;
        draft.payload = self.payload?;
        let route = match timeout_at(deadline, inner.route(self.target?)).await {
            Ok(route) => route?,
            Err(_) => return Err(timed_out(timeout, "the target's account wasn't found out")),
        };
        if matches!(route, Route::Thread(..)) {
            let detail = "a request goes to one agent; name an account, a username or a capability";
            return Err(Error::new(ErrorKind::InvalidTarget, detail));
        }
        if let (Some(stream), Some(account)) = (&self.stream, route.account()) {
            stream.expect(account.clone());
        }
        if let (Some(stream), Some(capability)) = (&self.stream, route.capability()) {
            stream.expect_holder(capability.clone());
        }
        let message_id = draft.message_id.take().unwrap_or_else(|| inner.ids.message_id());
        draft.message_id = Some(message_id.clone());
        draft.ttl = Some(draft.ttl.unwrap_or(timeout.min(MAX_TTL)));
        let token = inner.ids.nonce();
        let subject = Token::new(token.clone())
            .map(|token| Subject::Replies(inner.account.clone(), token).to_string())
            .map_err(|code| Error::of(code, "the id generator made a token that can't be used"))?;
        draft.reply_to = Some(subject.clone());
        let (answer, mut answered) = oneshot::channel();
        let _registered = {
            let mut waiting = inner.requests.lock();
            if waiting.len() >= inner.requests.max {
                let detail = format!("{} requests wait for replies; wait for some of them", waiting.len());
                return Err(Error::new(ErrorKind::OutboxFull, detail));
            }
            let (from, capability) = (route.account().cloned(), route.capability().cloned());
            let request = Waiting { message_id: message_id.clone(), from, capability, answer };
            waiting.insert(token.clone(), request);
            Registered { requests: &inner.requests, token }
        };
        let patience =
            Patience { receipt_timeout: self.receipt_timeout, retry_attempts: 0, must_confirm: true };
        let send = inner.dispatch(draft, &route, Some(subject), patience);
        let handle = match timeout_at(deadline, send).await {
            Ok(handle) => handle?,
            Err(_) => return Err(timed_out(timeout, "there was no room to send the request")),
        };
        let outcome = tokio::select! {
            biased;
            reply = &mut answered => match reply {
                Ok(reply) => finish(reply),
                Err(_) => Err(Error::closed()),
            },
            error = self.node.watch(&handle, &route, self.receipt_timeout, deadline) => {
                // The reply may be right behind the receipt that says its handler failed afterwards.
                match timeout_at(Instant::now() + REFUSAL_GRACE, answered).await {
                    Ok(Ok(reply)) => finish(reply),
                    _ => Err(error),
                }
            }
            () = too_late(deadline, self.stream.as_deref()) => {
                // Before the match: it would hold the lock until its end.
                let refusal = handle.track.progress().refusal.clone();
                Err(match refusal {
                    Some(refusal) => Error::of_code(&refusal.code, &refusal.detail),
                    None => timed_out(timeout, self.node.why_late(&handle)),
                }
                .message(&message_id))
            }
        };
        if outcome.is_ok() {
            // Who answers has admitted it. Its receipt may be late or lost, and history must hold both sides.
            handle.track.update(|p| p.accepted = true);
        }
        inner.metrics.latency_request.record(started.elapsed());
        outcome
    }
}

fn finish(envelope: Envelope) -> Result<Reply, Error> {
    if envelope.kind == kind::ERROR { Err(error_of(&envelope)) } else { Ok(Reply { envelope }) }
}

/// Until the deadline. A reply that is being written by then has the time of a stream.
async fn too_late(deadline: Instant, stream: Option<&Following>) {
    sleep_until(deadline).await;
    if let Some(stream) = stream.filter(|stream| stream.has_begun()) {
        sleep_until(stream.deadline()).await;
    }
}

fn timed_out(timeout: Duration, why: &str) -> Error {
    let detail = format!("no reply within {} s: {why}", timeout.as_secs_f64());
    Error::new(ErrorKind::Timeout, detail)
}

impl AgentNode {
    /// Completes when something is known that makes a reply impossible.
    async fn watch(
        &self,
        handle: &DeliveryHandle,
        route: &Route,
        receipt_timeout: Duration,
        deadline: Instant,
    ) -> Error {
        let inner = &self.inner;
        let absent = after(handle.started, receipt_timeout);
        let mut asked = false;
        loop {
            let changed = handle.track.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let progress = handle.track.progress().clone();
            // A holder's refusal of its own is told when the time is over, unless another has answered.
            let refusal = progress.refusal.as_ref();
            let refusal = refusal.filter(|r| !(route.account().is_none() && is_one_holders(&r.code)));
            if let Some(refusal) = progress.failed.as_ref().or(refusal) {
                return Error::of_code(&refusal.code, &refusal.detail).message(&handle.message_id);
            }
            if inner.is_closed() {
                return Error::closed();
            }
            let silent = !asked && !progress.accepted;
            if silent && Instant::now() >= absent {
                asked = true;
                if self.is_nobody_there(route).await && !handle.track.progress().accepted {
                    let detail = match route.account() {
                        Some(id) => format!("nobody accepted the request, and {id} has no session online"),
                        None => format!(
                            "nobody accepted the request, and no agent with {} is online",
                            route.to_agent()
                        ),
                    };
                    return Error::new(ErrorKind::NoResponder, detail).message(&handle.message_id);
                }
                continue;
            }
            let until = if silent { absent.min(deadline) } else { deadline };
            let _ = timeout_at(until, changed).await;
            if Instant::now() >= deadline {
                // The caller's own deadline speaks then.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn is_nobody_there(&self, route: &Route) -> bool {
        match self.inner.somebody_is_online(route).await {
            Ok(online) => !online,
            Err(error) => {
                tracing::debug!(%error, "whether somebody is online couldn't be found out");
                false
            }
        }
    }

    fn why_late(&self, handle: &DeliveryHandle) -> &'static str {
        let Progress { stored, accepted, processed, attempts, .. } = handle.track.progress().clone();
        match (processed, accepted, stored, attempts) {
            (true, ..) => "the agent processed the request and sent no reply; check what it does",
            (_, true, ..) => "the agent accepted the request and is still at work; allow it more time",
            (_, _, true, _) => "the request is stored, but no agent accepted it; check the agent",
            (_, _, _, 0) => "the connection to NATS is down; check the server",
            _ => "the network didn't confirm the request; check registry and persister",
        }
    }
}

impl<'a> IntoFuture for RequestMessage<'a> {
    type Output = Result<Reply, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(fields: serde_json::Value) -> Envelope {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn only_the_one_asked_answers_only_what_was_asked() {
        let asked = AccountId::new("acct_b").unwrap();
        let good = reply(serde_json::json!({"from_account_id": "acct_b", "parent_message_id": "m"}));
        assert!(answers(&good, "m", Some(&asked)));
        assert!(!answers(&good, "other", Some(&asked)));
        let other = reply(serde_json::json!({"from_account_id": "acct_c", "parent_message_id": "m"}));
        assert!(!answers(&other, "m", Some(&asked)));
        assert!(answers(&other, "m", None));
        let nameless = reply(serde_json::json!({"parent_message_id": "m"}));
        assert!(!answers(&nameless, "m", Some(&asked)));
        let error = serde_json::json!({"from_account_id": "acct_b", "payload": {"request_message_id": "m"}});
        assert!(answers(&reply(error), "m", Some(&asked)));
    }

    #[test]
    fn error_replies_keep_code_and_trace() {
        let error = error_of(&reply(serde_json::json!({
            "kind": "error", "trace_id": "t", "parent_message_id": "m",
            "payload": {"error": "busy", "detail": "agent backlog is full"}
        })));
        assert_eq!(
            (error.kind(), error.code(), error.detail()),
            (ErrorKind::Busy, "busy", "agent backlog is full")
        );
        assert_eq!((error.message_id(), error.trace_id()), (Some("m"), Some("t")));
        assert_eq!(error_of(&reply(serde_json::json!({"payload": 3}))).code(), "internal");
    }
}
