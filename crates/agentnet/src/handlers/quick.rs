//! Quick sends: a message, and one handler for the answer to it.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet_proto::Payload;
use serde::Serialize;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    On,
    once::{Awaited, OnceGuard, OnceHandler},
};
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    inbox::{HandlerResult, Incoming},
    node::AgentNode,
    send::{Delivery, DeliveryHandle, Draft, Patience, draft_options, payload_of},
    target::{IntoTarget, Target},
};

/// How long an answer to a quick send may take unless set.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A message about to be sent, whose answer is awaited: set options, then `.await`, or
/// [`then`](Self::then).
///
/// Other than a request, which its recipient answers while it handles it, a quick send is an ordinary message in a
/// thread of its own, and the answer is an ordinary message that may come at any time until the timeout. In a thread
/// that was [given](Self::thread), or to the members of one, the answer is the first message that names this one as its
/// parent, as [`Incoming::reply_message`] does; in a new thread the first message of any kind. Where the message was sent
/// to an account or a username, only that account answers. Whatever else comes goes to the node's handlers.
///
/// # Errors
/// As [`SendMessage`](crate::SendMessage); [`ErrorKind::Timeout`] when no answer came;
/// [`ErrorKind::InvalidArgument`] on a node that takes no messages.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct QuickSend<'a> {
    node: &'a AgentNode,
    target: Result<Target, Error>,
    payload: Result<Payload, Error>,
    draft: Draft,
    timeout: Duration,
}

impl AgentNode {
    /// Sends a message in a new thread, and waits for one answer.
    ///
    /// ```no_run
    /// # async fn example(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
    /// let answer = node.quick_send("@weather_bot", agentnet::proto::Block::text("rain?")).await?;
    /// println!("{}", answer.text().unwrap_or_default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn quick_send<T: Serialize>(&self, target: impl IntoTarget, payload: T) -> QuickSend<'_> {
        QuickSend {
            node: self,
            target: target.into_target(),
            payload: payload_of(&payload),
            draft: Draft::new(agentnet_proto::envelope::kind::DIRECT, Payload::default()),
            timeout: TIMEOUT,
        }
    }
}

impl<'a> QuickSend<'a> {
    draft_options!();

    /// How long the answer may take; 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends, and calls the handler once: with the answer, or with [`ErrorKind::Timeout`]. Returns when the message is
    /// sent; with an error, the handler isn't called. What the handler fails with for an answer is reported to whoever
    /// answered, as of any handler.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage); [`ErrorKind::Timeout`] when the message wasn't confirmed by then.
    pub async fn then<F, Fut>(self, handler: F) -> Result<Delivery, Error>
    where
        F: FnOnce(Result<Incoming, Error>) -> Fut + Send + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        let once = Arc::new(Mutex::new(Some(handler)));
        let take = move || once.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (answered, done) = oneshot::channel::<()>();
        let (on_answer, timeout) = (take.clone(), self.timeout);
        let on_answer: OnceHandler = Box::new(move |message| {
            // The timer has nothing to do any more.
            drop(answered);
            let handler = on_answer();
            Box::pin(async move {
                match handler {
                    Some(handler) => handler(Ok(message)).await,
                    None => Ok(()),
                }
            })
        });
        let Sent { handle, guard, deadline } = self.send(on_answer).await?;
        let delivered = tokio::select! {
            delivered = handle.delivered() => delivered,
            () = sleep_until(deadline) => Err(timed_out(timeout, handle.message_id())),
        };
        let delivery = match delivered {
            Ok(delivery) => delivery,
            Err(error) if guard.withdraw() => return Err(error),
            // It was answered: so it arrived, confirmed or not.
            Err(_) => return Ok(handle.delivery()),
        };
        let message_id = delivery.message_id.clone();
        tokio::spawn(async move {
            let _ = timeout_at(deadline, done).await;
            if guard.withdraw()
                && let Some(handler) = take()
                && let Err(error) = handler(Err(timed_out(timeout, &message_id))).await
            {
                tracing::warn!(message_id, %error, "the handler of a quick send failed on its timeout");
            }
        });
        Ok(delivery)
    }

    async fn run(self) -> Result<Incoming, Error> {
        let timeout = self.timeout;
        let (answer, mut answered) = oneshot::channel();
        let on_answer: OnceHandler = Box::new(move |message| {
            let given = answer.send(message).map_err(|_| "nobody waits for the answer any more".into());
            Box::pin(std::future::ready(given))
        });
        let Sent { handle, guard, deadline } = self.send(on_answer).await?;
        let failed = async {
            match handle.delivered().await {
                Ok(_) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let error = tokio::select! {
            biased;
            answer = &mut answered => return answer.map_err(|_| Error::closed()),
            error = failed => error,
            () = sleep_until(deadline) => timed_out(timeout, handle.message_id()),
        };
        // An answer that is being handed over wins.
        if guard.withdraw() { Err(error) } else { answered.await.map_err(|_| Error::closed()) }
    }

    /// Adds the handler, then sends: the answer may be here before the send returns.
    async fn send(self, handler: OnceHandler) -> Result<Sent, Error> {
        let inner = &self.node.inner;
        inner.handlers.check_listens()?;
        let deadline = after(Instant::now(), self.timeout);
        let target = self.target?;
        let mut draft = self.draft;
        draft.payload = self.payload?;
        let message_id = draft.message_id.take().unwrap_or_else(|| inner.ids.message_id());
        draft.message_id = Some(message_id.clone());
        let is_new_thread = draft.thread_id.is_none() && !matches!(target, Target::Thread(_));
        let on = if is_new_thread {
            let thread = format!("thread_quick_{}", inner.ids.ulid_lower());
            draft.thread_id = Some(thread.clone());
            On::Thread(thread)
        } else {
            On::Answer(message_id.clone())
        };
        let sent = async {
            let route = inner.route(target).await?;
            let awaited = Awaited { message_id: message_id.clone(), from: route.account().cloned(), handler };
            let guard = inner.add_once(on, awaited)?;
            let patience = Patience {
                receipt_timeout: inner.config.receipt_timeout,
                retry_attempts: inner.config.retry_attempts,
                must_confirm: true,
            };
            let handle = inner.dispatch(draft, &route, None, patience).await?;
            Ok(Sent { handle, guard, deadline })
        };
        timeout_at(deadline, sent).await.unwrap_or_else(|_| Err(timed_out(self.timeout, &message_id)))
    }
}

/// A message on its way, and what waits for its answer.
struct Sent {
    handle: DeliveryHandle,
    guard: OnceGuard,
    deadline: Instant,
}

fn timed_out(timeout: Duration, message_id: &str) -> Error {
    let detail = format!("no answer within {} s", timeout.as_secs_f64());
    Error::new(ErrorKind::Timeout, detail).message(message_id)
}

impl<'a> IntoFuture for QuickSend<'a> {
    type Output = Result<Incoming, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
