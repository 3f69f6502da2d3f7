//! The call that sends.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentnet_proto::Payload;
use serde::Serialize;

use super::{Delivery, DeliveryHandle, Draft, Stage, draft_options, publish::Patience};
use crate::{
    error::{Error, ErrorKind},
    node::Inner,
    outbox::Goal,
    target::{IntoTarget, Target},
};

/// Shortest receipt timeout, as in the original.
pub(crate) const MIN_RECEIPT_TIMEOUT: Duration = Duration::from_millis(200);

/// What a payload that can't be written as JSON, or a target that can't be read, becomes.
pub(crate) fn payload_of<T: Serialize + ?Sized>(value: &T) -> Result<Payload, Error> {
    Payload::of(value).map_err(|e| {
        Error::new(ErrorKind::InvalidArgument, "the payload can't be written as JSON").source_of(e)
    })
}

/// A message about to be sent: set options, then `.await`.
///
/// Awaited, it returns once the message is **stored and accepted**, or stored while the recipient stays silent or busy
/// for the receipt timeout (1.5 s): [`Delivery::stage`] says which. From then on the network tries for the message's
/// time to live. The message is published to the recipient once, and sent again to the network alone until the network
/// confirms, so that no copy is handled twice.
///
/// # Errors
/// - what the recipient or the network refused for good, at once, with its code;
/// - [`ErrorKind::Unconfirmed`] when no confirmation came within the attempts: the message may still arrive;
/// - [`ErrorKind::NatsUnavailable`] when it never left, [`ErrorKind::OutboxFull`], [`ErrorKind::PayloadTooLarge`],
///   [`ErrorKind::NotFound`] for an unknown username, [`ErrorKind::InvalidTarget`], [`ErrorKind::Closed`].
///
/// `busy`, `rate_limited`, `service_degraded` and `shutting_down` are no errors: the message is stored, the network
/// keeps trying, and [`Delivery::refusal`] names the code. With [`until`](Self::until) they become the error once the
/// time to live is over.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct SendMessage<'a> {
    node: &'a Arc<Inner>,
    target: Result<Target, Error>,
    payload: Result<Payload, Error>,
    draft: Draft,
    to_members: Vec<Result<Target, Error>>,
    goal: Option<Goal>,
    receipt_timeout: Duration,
    retry_attempts: Option<u32>,
}

impl<'a> SendMessage<'a> {
    pub(crate) fn new(
        node: &'a Arc<Inner>,
        target: impl IntoTarget,
        payload: Result<Payload, Error>,
    ) -> Self {
        let config = &node.config;
        Self {
            node,
            target: target.into_target(),
            payload,
            draft: Draft::new(agentnet_proto::envelope::kind::DIRECT, Payload::default()),
            to_members: Vec::new(),
            goal: Some(Goal::Delivered),
            receipt_timeout: config.receipt_timeout,
            retry_attempts: None,
        }
    }

    pub(crate) fn at(mut self, place: super::Place) -> Self {
        self.draft.at(place);
        self
    }

    draft_options!();

    /// Of a message to a thread: has it delivered to these members only, by id or username. The others can read it in the
    /// history. An account that isn't a member is the error `not_a_member`.
    pub fn to_members<I, T>(mut self, members: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: IntoTarget,
    {
        self.to_members.extend(members.into_iter().map(IntoTarget::into_target));
        self
    }

    /// How long a receipt may take before the recipient counts as absent, and a confirmation before another copy is
    /// sent; at least 0.2 s.
    pub fn receipt_timeout(mut self, timeout: Duration) -> Self {
        self.receipt_timeout = timeout.max(MIN_RECEIPT_TIMEOUT);
        self
    }

    /// How many more copies are sent before an unconfirmed message is reported as such.
    pub fn retry_attempts(mut self, attempts: u32) -> Self {
        self.retry_attempts = Some(attempts);
        self
    }

    /// Waits until the message has reached this stage, and not for any other. A recipient may be quicker than Postgres:
    /// `Accepted` and `Processed` come before or after the commit, and [`Delivery::stored`](super::Delivery::stored) says
    /// whether that is confirmed. Whoever needs both waits on a handle: `queued()`, then `until(Stage::Stored)` and
    /// `until(Stage::Processed)`, in any order.
    pub fn until(mut self, stage: Stage) -> Self {
        self.goal = Some(Goal::Stage(stage));
        self
    }

    /// Doesn't wait: returns once the message is written to the connection. It stays in the outbox until confirmed
    /// all the same, but closing the node doesn't wait for it.
    pub fn no_ack(mut self) -> Self {
        self.goal = None;
        self
    }

    /// Sends without waiting for anything: the handle tells later what happened. Its waits are as patient as the
    /// message's time to live (at most 30 s for the first confirmation) unless
    /// [`retry_attempts`](Self::retry_attempts) is set.
    ///
    /// # Errors
    /// What can be told before the network answers: a bad target, an unknown username, a full outbox, a size limit.
    pub async fn queued(mut self) -> Result<DeliveryHandle, Error> {
        self.goal = Some(Goal::Delivered);
        self.retry_attempts.get_or_insert(u32::MAX);
        self.dispatch().await
    }

    async fn dispatch(self) -> Result<DeliveryHandle, Error> {
        let inner = self.node;
        let mut draft = self.draft;
        draft.payload = self.payload?;
        let mut route = inner.route(self.target?).await?;
        if !self.to_members.is_empty() {
            inner.narrow(&mut route, &mut draft, self.to_members).await?;
        }
        let patience = Patience {
            receipt_timeout: self.receipt_timeout,
            retry_attempts: self.retry_attempts.unwrap_or(inner.config.retry_attempts),
            must_confirm: self.goal.is_some(),
        };
        inner.dispatch(draft, &route, None, patience).await
    }

    async fn run(self) -> Result<Delivery, Error> {
        let (node, goal) = (self.node, self.goal);
        let handle = self.dispatch().await?;
        let Some(goal) = goal else {
            node.connection.flush(MIN_RECEIPT_TIMEOUT.max(handle.patience.receipt_timeout)).await?;
            return Ok(handle.delivery());
        };
        let delivery = handle.wait(goal).await;
        node.metrics.latency_send.record(handle.started.elapsed());
        delivery
    }
}

impl<'a> IntoFuture for SendMessage<'a> {
    type Output = Result<Delivery, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
