//! What becomes of a task, for who submitted it.

use std::{collections::BTreeMap, time::Duration};

use agentnet_proto::{
    rpc::{self, StatusView, TaskCancelRequest, TaskGetRequest, TaskGetResponse, TaskListRequest, TaskView},
    task::{AgentStatus, TaskEvent},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, timeout_at},
};

use super::submit::again;
use crate::{
    error::{Error, ErrorKind},
    node::AgentNode,
};

/// How often to ask when no news come: news may be lost.
const ASK: Duration = Duration::from_secs(2);
/// How long one question is asked again while the network can't answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A task that was submitted.
#[derive(Debug, Clone)]
pub struct TaskHandle {
    node: AgentNode,
    view: TaskView,
    is_new: bool,
}

impl TaskHandle {
    pub(super) fn new(node: AgentNode, view: TaskView, is_new: bool) -> Self {
        Self { node, view, is_new }
    }

    /// The task's id.
    pub fn task_id(&self) -> &str {
        &self.view.task_id
    }

    /// The task as it was when it was submitted.
    pub fn submitted(&self) -> &TaskView {
        &self.view
    }

    /// Whether it was stored by this submission: false when the same one had been made before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The task as it is now, with its result.
    ///
    /// # Errors
    /// As [`AgentNode::task_status`].
    pub async fn status(&self) -> Result<TaskView, Error> {
        Ok(self.node.task_status(self.task_id()).await?.task)
    }

    /// The task when it has ended, however it did.
    ///
    /// # Errors
    /// As [`AgentNode::wait_task`].
    pub async fn wait(&self, within: Duration) -> Result<TaskView, Error> {
        self.node.wait_task(self.task_id(), within).await
    }

    /// Calls it off.
    ///
    /// # Errors
    /// As [`AgentNode::cancel_task`].
    pub async fn cancel(&self) -> Result<TaskView, Error> {
        self.node.cancel_task(self.task_id(), None).await
    }
}

impl AgentNode {
    /// A task with its data, result and attempts. Its submitter, its worker and operators may ask.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn task_status(&self, task_id: &str) -> Result<TaskGetResponse, Error> {
        let request =
            TaskGetRequest { account_id: Some(self.account_id().to_owned()), task_id: task_id.to_owned() };
        let give_up = Instant::now() + PATIENCE;
        again(give_up, || self.registry().call::<rpc::TaskGet>(&request)).await
    }

    /// One page of tasks, newest first: those that this account submitted, unless the request says otherwise; where it is
    /// to be left open who submitted them (operators), call [`RegistryClient::call`](crate::RegistryClient::call).
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn tasks(&self, mut request: TaskListRequest) -> Result<rpc::TaskListResponse, Error> {
        request.account_id = Some(self.account_id().to_owned());
        if request.submitter.is_none() && request.worker.is_none() {
            request.submitter = Some(self.account_id().to_owned());
        }
        self.registry().call::<rpc::TaskList>(&request).await
    }

    /// Calls a task off; the worker hears of it. One that has ended stays as it is, and is returned.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn cancel_task(&self, task_id: &str, reason: Option<&str>) -> Result<TaskView, Error> {
        let request = TaskCancelRequest {
            account_id: Some(self.account_id().to_owned()),
            task_id: task_id.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let give_up = Instant::now() + PATIENCE;
        Ok(again(give_up, || self.registry().call::<rpc::TaskCancel>(&request)).await?.task)
    }

    /// Waits until a task has ended, however it does, and returns it with its result.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it hasn't within that time; as [`task_status`](Self::task_status).
    pub async fn wait_task(&self, task_id: &str, within: Duration) -> Result<TaskView, Error> {
        // Heard from before the first question, so that no end falls between.
        let mut news = self.task_news();
        let deadline = Instant::now() + within;
        let ended = async {
            loop {
                let task = self.task_status(task_id).await?.task;
                if task.state.is_end() {
                    return Ok(task);
                }
                tokio::select! {
                    () = sleep(ASK) => {}
                    () = end_of(&mut news, task_id) => {}
                }
            }
        };
        match timeout_at(deadline, ended).await {
            Ok(ended) => ended,
            Err(_) => {
                let detail = format!("task {task_id} hasn't ended within {} s", within.as_secs_f64());
                Err(Error::new(ErrorKind::Timeout, detail))
            }
        }
    }

    /// What happens to tasks that this account submitted or has, from now on. News may be lost; a reader that is too slow
    /// misses some.
    pub fn task_news(&self) -> Receiver<TaskEvent> {
        self.inner.tasks.news()
    }

    /// Says how the agent is, and how busy: agents that aren't active are given no tasks. Figures that are given replace
    /// what was known.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn set_status(
        &self,
        status: AgentStatus,
        load_metrics: BTreeMap<String, f64>,
    ) -> Result<StatusView, Error> {
        let request = rpc::SetStatusRequest {
            account_id: Some(self.account_id().to_owned()),
            target: None,
            status: Some(status.to_string()),
            load_metrics,
        };
        Ok(self.registry().call::<rpc::SetStatus>(&request).await?.status)
    }
}

/// Until news come that the task has ended, or that news were missed.
async fn end_of(news: &mut Receiver<TaskEvent>, task_id: &str) {
    loop {
        match news.recv().await {
            Ok(event) if event.task_id == task_id && event.state.is_end() => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
