//! Submitting a task.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use agentnet_proto::{
    Payload,
    rpc::{self, TaskSubmitRequest},
    task::{TaskPriority, TaskRequirements},
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::TaskHandle;
use crate::{
    error::{Error, ErrorKind},
    node::AgentNode,
    send::payload_of,
};

/// How long submitting goes on while the network can't answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause before it is tried again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A task to be submitted. Set options, then `.await`: it is stored when that returns.
#[must_use = "nothing is submitted before `.await`"]
#[derive(Debug)]
pub struct SubmitTask<'a> {
    node: &'a AgentNode,
    data: Result<Payload, Error>,
    request: TaskSubmitRequest,
    deadline: Option<Duration>,
    patience: Duration,
}

impl<'a> SubmitTask<'a> {
    fn new<T: Serialize>(node: &'a AgentNode, task_type: &str, data: &T) -> Self {
        let task_type = (!task_type.is_empty()).then(|| task_type.to_owned());
        let request = TaskSubmitRequest { task_type, ..TaskSubmitRequest::default() };
        Self { node, data: payload_of(data), request, deadline: None, patience: PATIENCE }
    }

    /// How soon it wants to be done; normal unless set.
    pub fn priority(mut self, priority: TaskPriority) -> Self {
        self.request.priority = Some(priority.to_string());
        self
    }

    /// What a worker must be.
    pub fn requirements(mut self, requirements: TaskRequirements) -> Self {
        self.request.requirements = requirements;
        self
    }

    /// A capability that the worker must have, beside those that were named before.
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.request.requirements.capabilities.push(name.into());
        self
    }

    /// An account that may do it, by id or username, beside those that were named before.
    pub fn agent(mut self, account: impl Into<String>) -> Self {
        self.request.requirements.agents.push(account.into());
        self
    }

    /// After how long it is no use any more; 24 hours unless set, 30 days at most.
    pub fn within(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Two tasks of this account with one key are one task.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.request.idempotency_key = Some(key.into());
        self
    }

    /// The task's id; made here unless set.
    pub fn task_id(mut self, id: impl Into<String>) -> Self {
        self.request.task_id = Some(id.into());
        self
    }

    /// How often it is tried; 5 unless set.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.request.max_attempts = Some(attempts.into());
        self
    }

    /// What the strategy `consistent_hash` goes by; the task type unless set.
    pub fn affinity(mut self, key: impl Into<String>) -> Self {
        self.request.affinity = Some(key.into());
        self
    }

    /// How long to go on while the network can't answer; 30 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn submit(self) -> Result<TaskHandle, Error> {
        let Self { node, data, mut request, deadline, patience } = self;
        node.inner.check_open()?;
        request.task_data = Some(data?);
        request.account_id = Some(node.account_id().to_owned());
        request.ttl_ms = deadline.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        // With a key the network finds the task; else the id makes the second request the same as the first.
        if request.task_id.is_none() && request.idempotency_key.is_none() {
            request.task_id = Some(node.inner.ids.message_id());
        }
        let give_up = Instant::now() + patience;
        let answer = again(give_up, || node.registry().call::<rpc::TaskSubmit>(&request)).await?;
        Ok(TaskHandle::new(node.clone(), answer.task, answer.changed))
    }
}

impl<'a> IntoFuture for SubmitTask<'a> {
    type Output = Result<TaskHandle, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.submit())
    }
}

/// Asks again while the network can't answer; only for what may be asked twice.
pub(super) async fn again<T, F: Future<Output = Result<T, Error>>>(
    give_up: Instant,
    ask: impl Fn() -> F,
) -> Result<T, Error> {
    let mut pause = PAUSE;
    loop {
        let error = match ask().await {
            Err(error) if may_pass(&error) => error,
            done => return done,
        };
        let wait = pause.mul_f64(rand::random_range(0.5..=1.0));
        if Instant::now() + wait >= give_up {
            return Err(error);
        }
        sleep(wait).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether the same request may succeed in a moment.
fn may_pass(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Timeout
            | ErrorKind::RegistryUnavailable
            | ErrorKind::RegistryFailed
            | ErrorKind::NatsUnavailable
            | ErrorKind::Busy
            | ErrorKind::RateLimited
    )
}

impl AgentNode {
    /// Submits a task, to be done by an agent that takes tasks and fits the requirements. Returns once it is stored: from
    /// then on it reaches exactly one end, whatever dies on the way.
    ///
    /// ```no_run
    /// # async fn example(node: agentnet::AgentNode) -> Result<(), agentnet::Error> {
    /// use std::time::Duration;
    /// use agentnet::proto::task::TaskPriority;
    ///
    /// let task = node
    ///     .submit_task("translate", serde_json::json!({"text": "hello"}))
    ///     .capability("translate.fr")
    ///     .priority(TaskPriority::High)
    ///     .await?;
    /// let done = task.wait(Duration::from_secs(60)).await?;
    /// println!("{}: {:?}", done.state, done.result);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_task<T: Serialize>(&self, task_type: &str, data: T) -> SubmitTask<'_> {
        SubmitTask::new(self, task_type, &data)
    }
}
