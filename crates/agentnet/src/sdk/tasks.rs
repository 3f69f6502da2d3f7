//! Tasks, as the node has them.

use std::{collections::BTreeMap, future::Future, time::Duration};

use agentnet_proto::{
    rpc::{StatusView, TaskGetResponse, TaskListRequest, TaskListResponse, TaskView},
    task::AgentStatus,
};
use serde::Serialize;

use super::{Sdk, SdkBuilder};
use crate::{
    error::Error,
    tasks::{SubmitTask, TaskError, TaskRun},
};

impl SdkBuilder {
    /// Takes tasks; see [`AgentNodeBuilder::on_task`](crate::AgentNodeBuilder::on_task).
    pub fn on_task<F, Fut, T>(self, handler: F) -> Self
    where
        F: Fn(TaskRun) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, TaskError>> + Send + 'static,
        T: Serialize + 'static,
    {
        self.node(|node| node.on_task(handler))
    }
}

impl Sdk {
    /// Submits a task; see [`AgentNode::submit_task`](crate::AgentNode::submit_task).
    pub fn submit_task<T: Serialize>(&self, task_type: &str, data: T) -> SubmitTask<'_> {
        self.node.submit_task(task_type, data)
    }

    /// A task with its data, result and attempts.
    ///
    /// # Errors
    /// As [`AgentNode::task_status`](crate::AgentNode::task_status).
    pub async fn task_status(&self, task_id: &str) -> Result<TaskGetResponse, Error> {
        self.node.task_status(task_id).await
    }

    /// Waits until a task has ended, however it does.
    ///
    /// # Errors
    /// As [`AgentNode::wait_task`](crate::AgentNode::wait_task).
    pub async fn wait_task(&self, task_id: &str, within: Duration) -> Result<TaskView, Error> {
        self.node.wait_task(task_id, within).await
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// As [`AgentNode::cancel_task`](crate::AgentNode::cancel_task).
    pub async fn cancel_task(&self, task_id: &str, reason: Option<&str>) -> Result<TaskView, Error> {
        self.node.cancel_task(task_id, reason).await
    }

    /// One page of tasks, newest first.
    ///
    /// # Errors
    /// As [`AgentNode::tasks`](crate::AgentNode::tasks).
    pub async fn tasks(&self, request: TaskListRequest) -> Result<TaskListResponse, Error> {
        self.node.tasks(request).await
    }

    /// Says how the agent is, and how busy.
    ///
    /// # Errors
    /// As [`AgentNode::set_status`](crate::AgentNode::set_status).
    pub async fn set_status(
        &self,
        status: AgentStatus,
        load_metrics: BTreeMap<String, f64>,
    ) -> Result<StatusView, Error> {
        self.node.set_status(status, load_metrics).await
    }
}
