//! `agentnet task submit | list | show | cancel | watch | queues | strategy`: work for whoever can do it.

use std::time::Duration;

use agentnet::{
    RegistryClient,
    proto::{
        Payload,
        rpc::{
            self, TaskCancelRequest, TaskGetRequest, TaskGetResponse, TaskListRequest, TaskQueuesRequest,
            TaskStatsRequest, TaskStrategyRequest, TaskSubmitRequest, TaskView,
        },
        task::{TaskRequirements, TaskState},
    },
};
use comfy_table::Cell;
use tokio::time::sleep;

use super::{
    Context,
    friends::{As, Page},
    messages::next_page,
    payload,
};
use crate::{
    failure::Failure,
    output::{
        escape::{clean, clean_block},
        style::{BAD, DIM, GOOD, WARN, paint},
        table::{Table, number},
        time,
    },
};

/// How often a watched task is looked at.
const WATCH: Duration = Duration::from_millis(500);

/// Work for whoever can do it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Submit a task; it is stored when this returns
    Submit(Box<Submit>),
    /// Tasks, newest first
    List {
        /// Only those that this account submitted, by id or username
        #[arg(long)]
        submitter: Option<String>,
        /// Only those that this account has or had last, by id or username
        #[arg(long)]
        worker: Option<String>,
        /// queued, assigned, running, completed, failed, cancelled, expired or dead
        #[arg(long)]
        state: Option<String>,
        /// urgent, critical, high, normal or low
        #[arg(long)]
        priority: Option<String>,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        by: As,
    },
    /// One task with its result and attempts
    Show {
        /// The task
        task_id: String,
        #[command(flatten)]
        by: As,
    },
    /// Call a task off; its worker hears of it
    Cancel {
        /// The task
        task_id: String,
        /// For people
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Follow a task until it has ended
    Watch {
        /// The task
        task_id: String,
        #[command(flatten)]
        by: As,
    },
    /// How many tasks wait, and what became of the others
    Queues {
        #[command(flatten)]
        by: As,
    },
    /// How workers are chosen; with a name, how they are from now on
    Strategy {
        /// The name of a strategy
        strategy: Option<String>,
        #[command(flatten)]
        by: As,
    },
}

/// A task to be.
#[derive(Debug, clap::Args)]
struct Submit {
    /// What is to be done: JSON; `-` reads it from standard input
    #[arg(value_name = "DATA")]
    data: String,
    /// What kind of work it is
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// urgent, critical, high, normal or low
    #[arg(long)]
    priority: Option<String>,
    /// A capability that the worker must have; may be given several times
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// What the worker's metadata must say as its agent_type
    #[arg(long)]
    agent_type: Option<String>,
    /// An account that may do it, by id or username; may be given several times
    #[arg(long = "agent", value_name = "ACCOUNT")]
    agents: Vec<String>,
    /// After how many seconds it is no use any more; 24 hours unless given
    #[arg(long, value_name = "SECONDS")]
    within: Option<u32>,
    /// Two tasks of one submitter with one key are one task
    #[arg(long)]
    idempotency_key: Option<String>,
    /// The task's id; made up unless given
    #[arg(long)]
    task_id: Option<String>,
    /// How often it is tried, 1 to 100
    #[arg(long, value_name = "N")]
    max_attempts: Option<i64>,
    /// Follow it until it has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    by: As,
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-task").await?;
    let done = match args.command {
        Command::Submit(submit) => {
            let (registry, account) = submit.by.ask(&link).await?;
            self::submit(ctx, &registry, account, *submit).await
        }
        Command::List { submitter, worker, state, priority, page, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request = TaskListRequest {
                account_id,
                submitter,
                worker,
                state,
                priority,
                limit: Some(page.limit),
                cursor: page.cursor,
            };
            list(ctx, &registry, request).await
        }
        Command::Show { task_id, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request = TaskGetRequest { account_id, task_id };
            let answer = registry.call::<rpc::TaskGet>(&request).await?;
            ctx.out.show(&answer, |answer| show(ctx, answer))
        }
        Command::Cancel { task_id, reason, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request = TaskCancelRequest { account_id, task_id, reason };
            let answer = registry.call::<rpc::TaskCancel>(&request).await?;
            ctx.out.show(&answer, |answer| {
                let id = clean(&answer.task.task_id);
                match answer.changed {
                    true => ctx.out.line(format!("{id} is cancelled.")),
                    false => ctx.out.line(format!("{id} had ended: {}.", answer.task.state)),
                }
            })
        }
        Command::Watch { task_id, by } => {
            let (registry, account) = by.ask(&link).await?;
            watch(ctx, &registry, account, task_id).await
        }
        Command::Queues { by } => {
            let (registry, _) = by.ask(&link).await?;
            queues(ctx, &registry).await
        }
        Command::Strategy { strategy, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request = TaskStrategyRequest { account_id, strategy };
            let answer = registry.call::<rpc::SetTaskStrategy>(&request).await?;
            ctx.out.show(&answer, |answer| {
                ctx.out.line(answer.strategy.to_string())?;
                let others: Vec<&str> = answer.available.iter().map(|one| one.as_str()).collect();
                ctx.out.line(paint(DIM, format!("one of {}", others.join(", "))))
            })
        }
    };
    link.close().await;
    done
}

async fn submit(
    ctx: &Context,
    registry: &RegistryClient,
    account_id: Option<String>,
    submit: Submit,
) -> Result<(), Failure> {
    let request = TaskSubmitRequest {
        account_id: account_id.clone(),
        task_id: submit.task_id,
        task_type: submit.task_type,
        task_data: Some(payload::read(&submit.data)?),
        priority: submit.priority,
        requirements: TaskRequirements {
            capabilities: submit.capabilities,
            agent_type: submit.agent_type,
            agents: submit.agents,
            ..TaskRequirements::default()
        },
        deadline: None,
        ttl_ms: submit.within.map(|seconds| i64::from(seconds) * 1000),
        idempotency_key: submit.idempotency_key,
        max_attempts: submit.max_attempts,
        affinity: None,
    };
    let answer = registry.call::<rpc::TaskSubmit>(&request).await?;
    if submit.wait {
        return watch(ctx, registry, account_id, answer.task.task_id).await;
    }
    ctx.out.show(&answer, |answer| {
        let id = clean(&answer.task.task_id);
        match answer.changed {
            true => ctx.out.line(id.into_owned()),
            false => ctx.out.line(format!("{id} was submitted before: {}.", answer.task.state)),
        }
    })
}

async fn list(ctx: &Context, registry: &RegistryClient, request: TaskListRequest) -> Result<(), Failure> {
    let answer = registry.call::<rpc::TaskList>(&request).await?;
    ctx.out.show(&answer, |answer| {
        if answer.tasks.is_empty() {
            return ctx.out.line(paint(DIM, "No tasks."));
        }
        let heads = ["Task", "Type", "Priority", "State", "Worker", "Attempt", "Submitted (UTC)"];
        let mut table = Table::new(&heads, ctx.out.width());
        for task in &answer.tasks {
            table.row(vec![
                Cell::from(clean(&task.task_id).into_owned()),
                Cell::from(clean(task.task_type.as_deref().unwrap_or_default()).into_owned()),
                Cell::from(task.priority.to_string()),
                Cell::from(state(task)),
                Cell::from(clean(task.worker.as_deref().unwrap_or_default()).into_owned()),
                number(task.attempt),
                Cell::from(time::date_time(&task.created_at)),
            ]);
        }
        ctx.out.line(table.render())?;
        next_page(ctx, answer.next_cursor.as_deref())
    })
}

/// The state with how far it is, or why.
fn state(task: &TaskView) -> String {
    let style = match task.state {
        TaskState::Completed => GOOD,
        TaskState::Failed | TaskState::Expired | TaskState::Dead => BAD,
        TaskState::Running | TaskState::Assigned => WARN,
        TaskState::Queued | TaskState::Cancelled => DIM,
    };
    let word = paint(style, task.state.as_str());
    match (task.state, task.progress, &task.code) {
        (TaskState::Running, Some(done), _) => format!("{word} {:.0} %", done * 100.0),
        (TaskState::Completed | TaskState::Cancelled, ..) => word,
        (_, _, Some(code)) => format!("{word} ({})", clean(code)),
        _ => word,
    }
}

fn show(ctx: &Context, answer: &TaskGetResponse) -> Result<(), Failure> {
    let task = &answer.task;
    let line =
        |name: &str, value: String| ctx.out.line(format!("{} {value}", paint(DIM, format!("{name:>10}"))));
    line("task", clean(&task.task_id).into_owned())?;
    line("state", state(task))?;
    line("priority", task.priority.to_string())?;
    line("submitter", clean(&task.submitter).into_owned())?;
    if let Some(kind) = &task.task_type {
        line("type", clean(kind).into_owned())?;
    }
    line("submitted", time::date_time(&task.created_at))?;
    line("deadline", time::date_time(&task.deadline))?;
    if let Some(worker) = &task.worker {
        line("worker", clean(worker).into_owned())?;
    }
    if let Some(note) = &task.progress_note {
        line("note", clean_block(note))?;
    }
    if let Some(detail) = &task.detail {
        line("why", clean_block(detail))?;
    }
    for (name, value) in [("data", &task.task_data), ("result", &task.result)] {
        if let Some(value) = value {
            line(name, clean_block(value.get()))?;
        }
    }
    if answer.attempts.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new(&["Attempt", "Worker", "Begun (UTC)", "Ended (UTC)", "Outcome"], ctx.out.width());
    for attempt in &answer.attempts {
        table.row(vec![
            number(attempt.attempt),
            Cell::from(clean(&attempt.worker).into_owned()),
            Cell::from(attempt.accepted_at.as_deref().map(time::date_time).unwrap_or_default()),
            Cell::from(time::date_time(&attempt.ended_at)),
            Cell::from(clean(&attempt.outcome).into_owned()),
        ]);
    }
    ctx.out.line(table.render())
}

/// Follows the task; it failing is this command failing.
async fn watch(
    ctx: &Context,
    registry: &RegistryClient,
    account_id: Option<String>,
    task_id: String,
) -> Result<(), Failure> {
    let request = TaskGetRequest { account_id, task_id };
    let mut last = None;
    loop {
        let answer = registry.call::<rpc::TaskGet>(&request).await?;
        let task = &answer.task;
        if task.state.is_end() {
            ctx.out.show(&answer, |answer| {
                ctx.out.line(format!("{} {}", clean(&answer.task.task_id), state(&answer.task)))?;
                let result = answer.task.result.as_ref().map(Payload::get);
                result.map_or(Ok(()), |result| ctx.out.line(clean_block(result)))
            })?;
            if task.state == TaskState::Completed {
                return Ok(());
            }
            let detail = task.detail.clone().unwrap_or_default();
            let code = task.code.clone().unwrap_or_else(|| task.state.to_string());
            return Err(Failure::local(
                "task_not_completed",
                format!("{}: {code}: {detail}", task.state),
                "`agentnet task show` lists its attempts",
            ));
        }
        let now = (task.state, task.worker.clone(), task.progress.map(f64::to_bits), task.attempt);
        if !ctx.out.is_json() && last.as_ref() != Some(&now) {
            let worker =
                task.worker.as_deref().map(|worker| format!(" by {}", clean(worker))).unwrap_or_default();
            ctx.out.line(format!("{} {}{worker}", clean(&task.task_id), state(task)))?;
        }
        last = Some(now);
        sleep(WATCH).await;
    }
}

async fn queues(ctx: &Context, registry: &RegistryClient) -> Result<(), Failure> {
    let answer = registry.call::<rpc::TaskQueues>(&TaskQueuesRequest {}).await?;
    let stats = registry.call::<rpc::TaskStats>(&TaskStatsRequest {}).await?;
    ctx.out.show(&(&answer, &stats), |(answer, stats)| {
        let heads = ["Priority", "Queued", "No agent", "Retry", "Assigned", "Running", "Oldest (s)"];
        let mut table = Table::new(&heads, ctx.out.width());
        for queue in &answer.queues {
            table.row(vec![
                Cell::from(queue.priority.clone()),
                number(queue.queued),
                number(queue.waiting_for_agent),
                number(queue.waiting_for_retry),
                number(queue.assigned),
                number(queue.running),
                Cell::from(queue.oldest_seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default()),
            ]);
        }
        ctx.out.line(table.render())?;
        let balancer = &stats.load_balancer_stats;
        ctx.out.line(format!(
            "{} completed, {} failed, {} assignments ({:.0} % successful) by {} over {} active agents",
            stats.tasks_completed,
            stats.tasks_failed,
            balancer.total_assignments,
            balancer.success_rate * 100.0,
            balancer.strategy,
            balancer.active_agents,
        ))
    })
}
