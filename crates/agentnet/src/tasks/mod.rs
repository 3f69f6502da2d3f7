//! Tasks: submitting work to whoever can do it ([`AgentNode::submit_task`]), and doing such work
//! ([`AgentNodeBuilder::on_task`](crate::AgentNodeBuilder::on_task)).

mod follow;
mod submit;
mod worker;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use agentnet_proto::{
    Envelope,
    task::{TASK_KIND, TaskEvent, TaskState},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

pub use follow::TaskHandle;
pub use submit::SubmitTask;
pub use worker::{TaskError, TaskRun};
pub(crate) use worker::{TaskWorker, task_handler_of};

/// News that a slow reader may be behind by; it asks then.
const NEWS: usize = 1_024;

/// What a node knows about tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    news: broadcast::Sender<TaskEvent>,
    /// What this session is at: by task, which assignment, and what ends it.
    running: Mutex<HashMap<String, (i64, CancellationToken)>>,
    /// The account that brings tasks.
    sender: Option<String>,
}

impl Tasks {
    pub(crate) fn new(sender: Option<String>) -> Self {
        Self { news: broadcast::Sender::new(NEWS), running: Mutex::default(), sender }
    }

    /// Whether the message is a task that the network brings.
    pub(crate) fn brings(&self, envelope: &Envelope) -> bool {
        envelope.kind == TASK_KIND && self.sender.is_some() && envelope.from_account_id == self.sender
    }

    /// Something happened to a task that this account submitted, or has.
    pub(crate) fn heard(&self, event: TaskEvent) {
        // It has ended, or was taken away.
        if event.state.is_end() || event.state == TaskState::Queued {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((attempt, cancel)) = running.get(&event.task_id)
                && event.attempt == Some(*attempt)
            {
                cancel.cancel();
            }
        }
        // Nobody may be listening.
        let _ = self.news.send(event);
    }

    fn news(&self) -> broadcast::Receiver<TaskEvent> {
        self.news.subscribe()
    }

    /// Notes that the session begins with a task; `None` when it is at it already.
    fn begin(&self, task_id: &str, attempt: i64) -> Option<CancellationToken> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(task_id).is_some_and(|(other, _)| *other >= attempt) {
            return None;
        }
        let cancel = CancellationToken::new();
        if let Some((_, older)) = running.insert(task_id.to_owned(), (attempt, cancel.clone())) {
            older.cancel();
        }
        Some(cancel)
    }

    fn end(&self, task_id: &str, attempt: i64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(task_id).is_some_and(|(current, _)| *current == attempt) {
            running.remove(task_id);
        }
    }
}
