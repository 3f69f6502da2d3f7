//! One call: started where it was received, finished there or in a task.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use futures_util::future::{BoxFuture, CatchUnwind, FutureExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::{Failure, Outcome, panic_text};
use super::metrics::{Dropped, MethodMetrics};
use super::reply::{Sent, send};
use super::{Ctx, ErrorReply, Fault, FaultMap, Handler, ReplyGuard};

/// Everything a method's calls share.
pub(super) struct MethodRuntime<E> {
    pub(super) name: Arc<str>,
    pub(super) client: Client,
    pub(super) handler: Handler<E>,
    pub(super) faults: FaultMap<E>,
    pub(super) guard: ReplyGuard,
    pub(super) metrics: MethodMetrics,
    pub(super) slots: Arc<Semaphore>,
    pub(super) max_in_flight: usize,
    pub(super) max_body_bytes: usize,
    pub(super) deadline: Duration,
    pub(super) reply_timeout: Duration,
    pub(super) tasks: TaskTracker,
    /// Cancelled at the soft deadline of a stop.
    pub(super) abandon: CancellationToken,
}

type Running<E> = CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Outcome<E>>>>;

pub(super) enum Polled<T> {
    Ready(T),
    Pending,
}

/// Polls once in the current task; whoever polls on takes over the wake-up.
pub(super) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Polled<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Polled::Ready(output),
            Poll::Pending => Polled::Pending,
        })
    })
    .await
}

impl<E: ErrorReply> MethodRuntime<E> {
    /// Takes one request. Returns when it is answered or runs on its own.
    pub(super) async fn accept(self: &Arc<Self>, message: Message) {
        let received = Instant::now();
        let Some(reply) = message.reply else {
            return self.metrics.dropped(Dropped::NoReplySubject);
        };
        if !(self.guard)(&message.subject, &reply) {
            return self.metrics.dropped(Dropped::ReplySubjectForbidden);
        }
        let size = message.payload.len();
        if size > self.max_body_bytes {
            let fault = Fault::TooLarge { size, limit: self.max_body_bytes };
            return self.finish(reply, received, Err(Failure::Fault(fault))).await;
        }
        // Taken before the handler starts: a call that is refused must have had no effect.
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            let fault = Fault::Busy { limit: self.max_in_flight };
            return self.finish(reply, received, Err(Failure::Fault(fault))).await;
        };
        let ctx = Ctx {
            method: self.name.clone(),
            subject: message.subject,
            reply: reply.clone(),
            headers: message.headers,
            received,
            deadline: received + self.deadline,
        };
        let call = match catch_unwind(AssertUnwindSafe(|| (self.handler.call)(ctx, message.payload))) {
            Ok(call) => call,
            Err(panic) => {
                let outcome = self.panicked(panic.as_ref());
                return self.finish(reply, received, outcome).await;
            }
        };
        let mut call = AssertUnwindSafe(call).catch_unwind();
        match poll_once(Pin::new(&mut call)).await {
            Polled::Ready(ended) => {
                let outcome = ended.unwrap_or_else(|panic| self.panicked(panic.as_ref()));
                self.finish(reply, received, outcome).await;
            }
            Polled::Pending => {
                self.tasks.spawn(self.clone().run_on(call, reply, received, slot));
            }
        }
    }

    async fn run_on(
        self: Arc<Self>,
        call: Running<E>,
        reply: Subject,
        received: Instant,
        slot: OwnedSemaphorePermit,
    ) {
        let outcome = tokio::select! {
            biased;
            ended = call => ended.unwrap_or_else(|panic| self.panicked(panic.as_ref())),
            () = sleep_until(received + self.deadline) => {
                tracing::warn!(method = %self.name, deadline_s = self.deadline.as_secs_f64(), "handler overran");
                Err(Failure::Fault(Fault::Deadline { after: self.deadline }))
            }
            () = self.abandon.cancelled() => Err(Failure::Fault(Fault::ShuttingDown)),
        };
        // Given back first: a requester that calls again at once must not find its own slot taken.
        drop(slot);
        self.finish(reply, received, outcome).await;
    }

    async fn finish(&self, reply: Subject, received: Instant, outcome: Outcome<E>) {
        let (body, code) = self.encode(outcome);
        let size = body.len();
        let mut sent = send(&self.client, reply.clone(), body, self.reply_timeout).await;
        let mut code = code;
        if matches!(sent, Sent::TooLarge) {
            let fault = Fault::ReplyTooLarge { size, limit: self.client.max_payload() };
            let (body, too_large) = self.encode(Err(Failure::Fault(fault)));
            sent = send(&self.client, reply, body, self.reply_timeout).await;
            code = too_large;
        }
        self.metrics.finished(received.elapsed());
        if let Some(code) = code {
            self.metrics.failed(code);
        }
        if !matches!(sent, Sent::Yes) {
            self.metrics.dropped(Dropped::ReplyNotSent);
        }
    }

    fn encode(&self, outcome: Outcome<E>) -> (Bytes, Option<&'static str>) {
        let error = match outcome {
            Ok(body) => return (body, None),
            Err(Failure::Error(error)) => error,
            Err(Failure::Fault(fault)) => (self.faults)(&self.name, fault),
        };
        (error.body(), Some(error.code()))
    }

    fn panicked(&self, panic: &(dyn std::any::Any + Send)) -> Outcome<E> {
        tracing::error!(method = %self.name, panic = panic_text(panic), "handler panicked");
        Err(Failure::Fault(Fault::Panicked))
    }
}
