//! `registry.task_get`, `.task_list` and `.task_cancel`.

use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{
    TaskAttempt, TaskCancelRequest, TaskGetRequest, TaskGetResponse, TaskListRequest, TaskListResponse,
    TaskResponse, TaskView, clamp_limit,
};
use agentnet_proto::task::{TaskPriority, TaskState};
use agentnet_proto::{ErrorCode, RpcError, Security, Timestamp};
use agentnet_store::StoreError;
use agentnet_store::tasks::{self, AttemptRow, Ending, Filter, Target};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::fit::page;
use crate::tasks::announce;

/// Attempts shown with a task.
const ATTEMPTS: i64 = 100;

pub(in crate::rpc) async fn get(
    app: Arc<App>,
    call: Call,
    request: TaskGetRequest,
) -> Result<TaskGetResponse, RpcError> {
    super::task_id(&request.task_id)?;
    let work = async {
        let task = tasks::by_id(app.store.pool(), &request.task_id).await?;
        let asker = match app.config.security {
            Security::Open => None,
            _ => Some(access::owner(&app, &call, request.account_id.as_deref())?),
        };
        let task = task.ok_or(Failed::NotFound)?;
        if let Some(asker) = asker {
            let own = task.submitter == asker.as_str() || task.worker.as_deref() == Some(asker.as_str());
            // As if it didn't exist.
            if !own && !access::is_operator(&app, &asker).await? {
                return Err(Failed::NotFound);
            }
        }
        let attempts = tasks::attempts(app.store.pool(), &request.task_id, ATTEMPTS).await?;
        Ok((task, attempts))
    };
    let (task, attempts) = app.within("db.task_get", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    Ok(TaskGetResponse {
        task: task.view(),
        attempts: attempts.into_iter().map(attempt).collect(),
        generated_at: app.now().to_string(),
    })
}

fn attempt(row: AttemptRow) -> TaskAttempt {
    let time = |at| Timestamp::from_offset(at).to_string();
    TaskAttempt {
        attempt: row.attempt.into(),
        worker: row.worker,
        session: row.session,
        assigned_at: time(row.assigned_at),
        accepted_at: row.accepted_at.map(time),
        ended_at: time(row.ended_at),
        outcome: row.outcome,
        detail: row.detail,
    }
}

pub(in crate::rpc) async fn list(
    app: Arc<App>,
    call: Call,
    request: TaskListRequest,
) -> Result<TaskListResponse, RpcError> {
    let state = request.state.as_deref().map(TaskState::parse).transpose()?;
    let priority = request.priority.as_deref().map(TaskPriority::parse).transpose()?;
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(TextCursor::decode);
    let after = after.and_then(|TextCursor([at, id])| Some((Timestamp::parse(&at)?, id)));
    let work = async {
        let mut submitter = account(&app, "submitter", request.submitter.as_deref()).await?;
        let worker = account(&app, "worker", request.worker.as_deref()).await?;
        if app.config.security != Security::Open {
            let asker = access::owner(&app, &call, request.account_id.as_deref())?.to_string();
            if !access::is_operator(&app, &access_id(&asker)?).await? {
                let own_work = worker.as_ref() == Some(&asker);
                match &submitter {
                    Some(other) if *other != asker && !own_work => {
                        let detail = "only operators may list what others submitted";
                        return Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into());
                    }
                    None if !own_work => submitter = Some(asker),
                    _ => {}
                }
            }
        }
        let filter = Filter {
            submitter: submitter.as_deref(),
            worker: worker.as_deref(),
            state,
            priority,
            before: after.as_ref().map(|(at, id)| (*at, id.as_str())),
        };
        Ok(tasks::list(app.store.pool(), &filter, limit + 1).await?)
    };
    let rows = app.within("db.task_list", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    let rows: Vec<TaskView> = rows.into_iter().map(tasks::Task::view).collect();
    let cursor = |last: &TaskView| TextCursor([last.created_at.clone(), last.task_id.clone()]).encode();
    let (tasks, next_cursor) = page(rows, limit, app.row_budget(), cursor);
    Ok(TaskListResponse { tasks, next_cursor, generated_at: app.now().to_string() })
}

fn access_id(text: &str) -> Result<agentnet_proto::AccountId, RpcError> {
    agentnet_proto::AccountId::new(text).map_err(RpcError::from)
}

async fn account(app: &App, field: &str, text: Option<&str>) -> Result<Option<String>, Failed> {
    match text {
        None => Ok(None),
        Some(text) => Ok(Some(access::named(app, field, text).await?.to_string())),
    }
}

pub(in crate::rpc) async fn cancel(
    app: Arc<App>,
    call: Call,
    request: TaskCancelRequest,
) -> Result<TaskResponse, RpcError> {
    super::task_id(&request.task_id)?;
    super::prose("reason", request.reason.as_deref())?;
    let failed = StoreError::query("agent_tasks.cancel");
    let work = async {
        let asker = access::operator_or_other(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let task = tasks::lock(&mut tx, &request.task_id).await?.ok_or(Failed::NotFound)?;
        if let Some((asker, operator)) = &asker
            && !operator
            && task.submitter != asker.as_str()
        {
            // The worker knows the task; to others it doesn't exist.
            let worker = task.worker.as_deref() == Some(asker.as_str());
            let detail = "only the submitter and operators may cancel a task";
            return Err(match worker {
                true => RpcError::with_detail(ErrorCode::Forbidden, detail).into(),
                false => Failed::NotFound,
            });
        }
        if task.state().is_end() {
            return Ok((task, None));
        }
        let ending = Ending {
            task_id: request.task_id.clone(),
            attempt: task.attempt,
            target: Target::Cancelled,
            code: ErrorCode::Cancelled.as_str().to_owned(),
            detail: request.reason.clone(),
        };
        let changed = tasks::end(&mut tx, &[ending], 0.0).await?.pop().ok_or(Failed::NotFound)?;
        tx.commit().await.map_err(&failed)?;
        Ok((changed.task.clone(), Some(changed)))
    };
    let (mut task, changed) =
        app.within("db.task_cancel", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    if let Some(changed) = &changed {
        announce(&app, changed).await;
        app.tasks.woken.notify_one();
    }
    (task.task_data, task.result) = (None, None);
    Ok(TaskResponse { task: task.view(), changed: changed.is_some(), generated_at: app.now().to_string() })
}
