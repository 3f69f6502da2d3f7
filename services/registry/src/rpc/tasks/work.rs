//! What workers say: `registry.task_accept`, `.task_heartbeat`, `.task_progress`, `.task_complete`, `.task_fail`.

use std::sync::Arc;

use agentnet_proto::envelope::Payload;
use agentnet_proto::rpc::{
    TaskAcceptRequest, TaskAcceptResponse, TaskCompleteRequest, TaskFailRequest, TaskProgressRequest,
    TaskReportResponse,
};
use agentnet_proto::task::{MAX_TASK_BYTES, TaskChange, TaskState};
use agentnet_proto::{ErrorCode, RpcError, Timestamp};
use agentnet_store::StoreError;
use agentnet_store::tasks::{self, Changed, Ending, Refusal, Report, Target, Task};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::tasks::{announce, tell};
use crate::{access, validate};

/// Longest remark about progress, in characters.
const MAX_NOTE: usize = 1_024;

pub(in crate::rpc) async fn accept(
    app: Arc<App>,
    call: Call,
    request: TaskAcceptRequest,
) -> Result<TaskAcceptResponse, RpcError> {
    super::task_id(&request.task_id)?;
    validate::queries(&[("session_tag", &request.session_tag)])?;
    let attempt = request.attempt.map(|n| i32::try_from(n).unwrap_or(-1));
    let lease = app.config.tasks.lease;
    let work = async {
        let worker = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let secret = app.ids.nonce();
        let report = Report { task_id: &request.task_id, worker: worker.as_str(), lease: &secret };
        let session = request.session_tag.as_deref();
        let db = app.store.pool();
        if let Some(task) = tasks::accept(db, report, attempt, session, lease.as_secs_f64()).await? {
            return Ok((task, true));
        }
        let task = tasks::by_id(db, &request.task_id).await?;
        let assigned = task.filter(|task| {
            task.worker.as_deref() == Some(worker.as_str()) && attempt.is_none_or(|n| n == task.attempt)
        });
        let code = match assigned {
            // The answer to the first request was lost.
            Some(task)
                if task.state() == TaskState::Running
                    && session.is_some()
                    && task.worker_session.as_deref() == session =>
            {
                return Ok((task, false));
            }
            Some(task) if task.state() == TaskState::Running => ErrorCode::TaskTaken,
            Some(task) if task.state().is_end() => ErrorCode::TaskOver,
            _ => ErrorCode::TaskNotAssigned,
        };
        Err(RpcError::from(code).into())
    };
    let (task, changed) = app.within("db.task_accept", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    if changed {
        tell(&app, &task, TaskChange::Started).await;
    }
    Ok(TaskAcceptResponse {
        lease: task.lease.clone().unwrap_or_default(),
        lease_ms: i64::try_from(lease.as_millis()).unwrap_or(i64::MAX),
        task: task.view(),
        generated_at: app.now().to_string(),
    })
}

pub(in crate::rpc) async fn heartbeat(
    app: Arc<App>,
    call: Call,
    request: TaskProgressRequest,
) -> Result<TaskReportResponse, RpcError> {
    hear(app, call, request).await
}

pub(in crate::rpc) async fn progress(
    app: Arc<App>,
    call: Call,
    request: TaskProgressRequest,
) -> Result<TaskReportResponse, RpcError> {
    if request.progress.is_none() {
        let detail = "progress is required: how much is done, 0 to 1";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    hear(app, call, request).await
}

async fn hear(
    app: Arc<App>,
    call: Call,
    request: TaskProgressRequest,
) -> Result<TaskReportResponse, RpcError> {
    check(&request.task_id, &request.lease)?;
    if request.progress.is_some_and(|done| !(0.0..=1.0).contains(&done)) {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "progress is a number from 0 to 1"));
    }
    if let Some(note) = &request.note {
        validate::name("note", note, MAX_NOTE)?;
    }
    let lease = app.config.tasks.lease.as_secs_f64();
    let work = async {
        let worker = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let report = Report { task_id: &request.task_id, worker: worker.as_str(), lease: &request.lease };
        let (progress, note) = (request.progress, request.note.as_deref());
        match tasks::hear(app.store.pool(), report, progress, note, lease).await? {
            Some(task) => Ok(task),
            None => refused(&app, report, TaskState::Running).await,
        }
    };
    let task = app.within("db.task_progress", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    if request.progress.is_some() || request.note.is_some() {
        tell(&app, &task, TaskChange::Progress).await;
    }
    Ok(answer(&app, &task))
}

pub(in crate::rpc) async fn complete(
    app: Arc<App>,
    call: Call,
    request: TaskCompleteRequest,
) -> Result<TaskReportResponse, RpcError> {
    check(&request.task_id, &request.lease)?;
    let result = request.result.as_ref().map_or("null", Payload::get);
    if result.len() > MAX_TASK_BYTES {
        let detail =
            format!("result is larger than {MAX_TASK_BYTES} bytes; put it into a blob and refer to that");
        return Err(RpcError::with_detail(ErrorCode::PayloadTooLarge, detail));
    }
    let work = async {
        let worker = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let report = Report { task_id: &request.task_id, worker: worker.as_str(), lease: &request.lease };
        match tasks::complete(app.store.pool(), report, result).await? {
            Some(task) => Ok((task, true)),
            None => Ok((refused(&app, report, TaskState::Completed).await?, false)),
        }
    };
    let (task, changed) =
        app.within("db.task_complete", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    if changed {
        announce(&app, &Changed { task: task.clone(), was: TaskState::Running }).await;
        app.tasks.woken.notify_one();
    }
    Ok(answer(&app, &task))
}

pub(in crate::rpc) async fn fail(
    app: Arc<App>,
    call: Call,
    request: TaskFailRequest,
) -> Result<TaskReportResponse, RpcError> {
    super::task_id(&request.task_id)?;
    validate::queries(&[("lease", &request.lease)])?;
    super::word("code", request.code.as_deref())?;
    super::prose("detail", request.detail.as_deref())?;
    let failed = StoreError::query("agent_tasks.fail");
    let pause = app.config.tasks.retry.as_secs_f64();
    let work = async {
        let worker = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let lease = request.lease.as_deref().unwrap_or_default();
        let report = Report { task_id: &request.task_id, worker: worker.as_str(), lease };
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let own = tasks::lock(&mut tx, &request.task_id).await?.filter(|task| {
            let holds = match task.state() {
                TaskState::Running => !lease.is_empty() && task.lease.as_deref() == Some(lease),
                // Who hasn't accepted it declines it, and has no lease.
                TaskState::Assigned => lease.is_empty(),
                _ => false,
            };
            holds && task.worker.as_deref() == Some(worker.as_str())
        });
        let Some(task) = own else {
            drop(tx);
            return Ok((refused(&app, report, TaskState::Failed).await?, None));
        };
        let declined = task.state() == TaskState::Assigned;
        let code = request.code.clone().unwrap_or_else(|| ErrorCode::HandlerError.as_str().to_owned());
        let ending = Ending {
            task_id: request.task_id.clone(),
            attempt: task.attempt,
            target: if request.retry || declined { Target::Retry } else { Target::Failed },
            code,
            detail: request.detail.clone(),
        };
        let changed = tasks::end(&mut tx, &[ending], pause).await?.pop().ok_or(Failed::NotFound)?;
        tx.commit().await.map_err(&failed)?;
        Ok((changed.task.clone(), Some(changed)))
    };
    let (task, changed) = app.within("db.task_fail", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    if let Some(changed) = &changed {
        announce(&app, changed).await;
        app.tasks.woken.notify_one();
    }
    Ok(answer(&app, &task))
}

fn check(task_id: &str, lease: &str) -> Result<(), RpcError> {
    super::task_id(task_id)?;
    if lease.is_empty() {
        return Err(RpcError::with_detail(
            ErrorCode::InvalidField,
            "lease is required; task_accept answers it",
        ));
    }
    validate::query("lease", lease)
}

/// Why a word of a worker didn't count; the task when it had led to `wanted` before.
async fn refused(app: &App, report: Report<'_>, wanted: TaskState) -> Result<Task, Failed> {
    let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
    match tasks::why_not(&mut db, report, wanted).await? {
        Refusal::Already(task) => Ok(*task),
        Refusal::No(code) => {
            metrics::counter!("agentnet_registry_task_words_refused_total", "code" => code.as_str())
                .increment(1);
            Err(RpcError::from(code).into())
        }
    }
}

fn answer(app: &App, task: &Task) -> TaskReportResponse {
    TaskReportResponse {
        task_id: task.task_id.clone(),
        state: task.state(),
        lease_until: task.lease_until.map(|at| Timestamp::from_offset(at).to_string()),
        generated_at: app.now().to_string(),
    }
}
