//! What happened to tasks, to those it concerns.

use agentnet_proto::task::{TaskChange, TaskEvent, TaskState};
use agentnet_proto::{AccountId, EventType, Subject};
use agentnet_store::tasks::{Changed, Task};

use crate::app::App;
use crate::events::publish;

/// Tells submitter, worker and everybody who watches.
pub(crate) async fn tell(app: &App, task: &Task, change: TaskChange) {
    let event = TaskEvent {
        event: change,
        task_id: task.task_id.clone(),
        state: task.state(),
        priority: task.priority(),
        submitter: task.submitter.clone(),
        worker: task.worker.clone(),
        attempt: (task.attempt > 0).then(|| task.attempt.into()),
        progress: task.progress,
        code: task.code.clone(),
        at: app.now().to_string(),
    };
    let both = [Some(&task.submitter), task.worker.as_ref().filter(|worker| **worker != task.submitter)];
    for account in both.into_iter().flatten() {
        if let Ok(account) = AccountId::new(account.as_str()) {
            publish(app, Subject::Tasks(account), &event).await;
        }
    }
    publish(app, Subject::Event(EventType::Tasks), &event).await;
}

/// Tells, and counts what ended.
pub(crate) async fn announce(app: &App, changed: &Changed) {
    let state = changed.task.state();
    if state.is_end() {
        metrics::counter!("agentnet_registry_tasks_ended_total", "state" => state.as_str()).increment(1);
    } else if state == TaskState::Queued {
        let code = changed.task.code.clone().unwrap_or_default();
        // Workers' own codes would make any number of series.
        let code = agentnet_proto::ErrorCode::parse(&code).map_or("other", agentnet_proto::ErrorCode::as_str);
        metrics::counter!("agentnet_registry_tasks_retried_total", "code" => code).increment(1);
    }
    tell(app, &changed.task, TaskChange::from(state)).await;
}
