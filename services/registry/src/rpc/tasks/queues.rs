//! `registry.task_queues`, `.task_queue_clear`, `.task_stats` and `.task_strategy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentnet_proto::rpc::{
    LoadBalancerStats, TaskQueue, TaskQueueClearRequest, TaskQueueClearResponse, TaskQueuesRequest,
    TaskQueuesResponse, TaskStatsRequest, TaskStatsResponse, TaskStrategyRequest, TaskStrategyResponse,
};
use agentnet_proto::task::{TaskPriority, TaskStrategy};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::{StoreError, tasks};

use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::tasks::{active, announce};

/// Tasks counted at most.
const MOST_COUNTED: i64 = 100_000;
/// Tasks that one request calls off at most, in one step and in all.
const STEP: i64 = 1_000;
const MOST_CLEARED: i64 = 10_000;

pub(in crate::rpc) async fn queues(
    app: Arc<App>,
    _: Call,
    _: TaskQueuesRequest,
) -> Result<TaskQueuesResponse, RpcError> {
    let work = async { Ok((tasks::queues(app.store.pool(), MOST_COUNTED).await?, active(&app).await?)) };
    let (found, workers) = app.within("db.task_queues", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    let queue = |priority: &TaskPriority| {
        let known = found.iter().find(|queue| queue.priority() == *priority);
        TaskQueue {
            priority: priority.to_string(),
            queued: known.map_or(0, |q| q.queued),
            waiting_for_agent: known.map_or(0, |q| match workers.is_empty() {
                // Not looked at one by one while there is nobody at all.
                true => q.queued - q.waiting_for_retry,
                false => q.waiting_for_agent,
            }),
            waiting_for_retry: known.map_or(0, |q| q.waiting_for_retry),
            oldest_seconds: known.and_then(|q| q.oldest_seconds),
            assigned: known.map_or(0, |q| q.assigned),
            running: known.map_or(0, |q| q.running),
        }
    };
    let queues = TaskPriority::ALL.iter().map(queue).collect();
    Ok(TaskQueuesResponse { queues, generated_at: app.now().to_string() })
}

pub(in crate::rpc) async fn clear(
    app: Arc<App>,
    call: Call,
    request: TaskQueueClearRequest,
) -> Result<TaskQueueClearResponse, RpcError> {
    let priority = TaskPriority::parse(&request.priority)?;
    let failed = StoreError::query("agent_tasks.clear");
    let mut cleared = 0;
    let mut more = false;
    let work = access::operator(&app, &call, request.account_id.as_deref());
    let by = app.within("db.task_queue_clear", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    let detail = match &by {
        Some(by) => format!("{by} cleared the queue"),
        None => "the queue was cleared".to_owned(),
    };
    while cleared < MOST_CLEARED {
        let work = async {
            let mut tx = app.store.pool().begin().await.map_err(&failed)?;
            let changed = tasks::clear_queue(&mut tx, priority, &detail, STEP).await?;
            tx.commit().await.map_err(&failed)?;
            Ok(changed)
        };
        let changed = app.within("db.task_queue_clear", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
        let count = i64::try_from(changed.len()).unwrap_or(i64::MAX);
        for one in &changed {
            announce(&app, one).await;
        }
        cleared += count;
        more = count == STEP;
        if !more {
            break;
        }
    }
    Ok(TaskQueueClearResponse {
        priority: priority.to_string(),
        cleared,
        more,
        generated_at: app.now().to_string(),
    })
}

pub(in crate::rpc) async fn stats(
    app: Arc<App>,
    _: Call,
    _: TaskStatsRequest,
) -> Result<TaskStatsResponse, RpcError> {
    let work = async {
        let db = app.store.pool();
        let (totals, strategy) = (tasks::totals(db).await?, tasks::strategy(db).await?);
        Ok((totals, strategy, tasks::queues(db, MOST_COUNTED).await?, active(&app).await?))
    };
    let (totals, strategy, queues, workers) =
        app.within("db.task_stats", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    let ratio = |part: f64, of: i64| if of == 0 { 0.0 } else { part / of as f64 };
    let distributed = totals.attempts + totals.in_hand;
    let size = |priority: &TaskPriority| {
        let known = queues.iter().find(|queue| queue.priority() == *priority);
        (priority.to_string(), known.map_or(0, |queue| queue.queued))
    };
    let in_hand: i64 = workers.iter().map(|worker| worker.in_hand).sum();
    let count = i64::try_from(workers.len()).unwrap_or(i64::MAX);
    Ok(TaskStatsResponse {
        tasks_distributed: distributed,
        tasks_completed: totals.completed,
        tasks_failed: totals.failed,
        avg_distribution_time: ratio(totals.waited + totals.in_hand_waited, distributed),
        load_balancer_stats: LoadBalancerStats {
            strategy,
            total_assignments: distributed,
            successful_assignments: totals.succeeded,
            failed_assignments: totals.attempts - totals.succeeded,
            success_rate: ratio(totals.succeeded as f64, totals.attempts),
            active_agents: count,
            agent_weights: workers.iter().filter(|worker| worker.weighted).count() as i64,
            avg_agent_load: ratio(in_hand as f64, count),
        },
        queue_sizes: TaskPriority::ALL.iter().map(size).collect::<BTreeMap<String, i64>>(),
        generated_at: app.now().to_string(),
    })
}

pub(in crate::rpc) async fn strategy(
    app: Arc<App>,
    call: Call,
    request: TaskStrategyRequest,
) -> Result<TaskStrategyResponse, RpcError> {
    let wanted = request.strategy.as_deref().map(TaskStrategy::parse).transpose()?;
    let work = async {
        if let Some(wanted) = wanted {
            let by = access::operator(&app, &call, request.account_id.as_deref()).await?;
            let by = by.as_ref().map(agentnet_proto::AccountId::as_str);
            tasks::set_strategy(app.store.pool(), wanted, by).await?;
        }
        Ok(tasks::strategy(app.store.pool()).await?)
    };
    let strategy = app.within("db.task_strategy", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    Ok(TaskStrategyResponse {
        strategy,
        available: TaskStrategy::ALL.to_vec(),
        generated_at: app.now().to_string(),
    })
}
