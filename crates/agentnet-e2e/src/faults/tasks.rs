//! Tasks under fire: registry replicas and workers are killed while tasks are submitted and done. Every task that was
//! acknowledged must reach exactly one end, with the result that belongs to it.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agentnet::{AgentNode, TaskError, TaskRun, connect::NatsSettings};
use agentnet_proto::task::TaskState;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    child::{Child, die_with_parent},
    options::RunArgs,
    stack::{Options, Stack},
};

/// How long a worker may take to join.
const JOIN: Duration = Duration::from_secs(120);
/// What a worker says once it takes tasks.
const READY: &str = "ready";
/// Tasks that a worker has in hand.
const CAPACITY: u32 = 8;
/// A fault lasts so long at most.
const DOWN: Duration = Duration::from_millis(1200);

/// What a worker is told.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Username.
    #[arg(long)]
    pub username: String,
}

/// What a task is about, and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    n: u64,
    ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    doubled: u64,
}

/// A worker: doubles numbers, which takes a while, until its standard input closes.
///
/// # Errors
/// When it can't join within two minutes.
pub async fn worker(args: WorkerArgs) -> Result<()> {
    die_with_parent();
    let start = Instant::now();
    let node = loop {
        let builder = AgentNode::builder(&args.username).username(&args.username).task_concurrency(CAPACITY);
        let started = builder
            .on_task(|task: TaskRun| async move {
                let content: Content = task.json()?;
                sleep(Duration::from_millis(content.ms)).await;
                // Some of it goes wrong, and right at another attempt.
                if content.n.is_multiple_of(17) && task.attempt() == 1 {
                    return Err(TaskError::retry("not at the first attempt"));
                }
                Ok(Outcome { doubled: content.n * 2 })
            })
            .start();
        match started.await {
            Ok(node) => break node,
            Err(error) if start.elapsed() >= JOIN => return Err(error).context("can't join"),
            Err(error) => tracing::info!(%error, "trying to join"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    let _node = node;
    std::future::pending().await
}

/// What a run found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TaskReport {
    /// Decides whom faults hit and when.
    pub seed: u64,
    /// Processes killed with SIGKILL.
    pub kills: u64,
    /// Tasks that were to be submitted.
    pub submitted: u64,
    /// Those that the network acknowledged.
    pub acknowledged: u64,
    /// Of those, the ones that were completed.
    pub completed: u64,
    /// Of those, the ones that ended otherwise.
    pub ended_otherwise: u64,
    /// Attempts that came to nothing because somebody died.
    pub attempts_lost: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// Acknowledged, and not ended when the deadline came.
    pub stuck: u64,
    /// With more or fewer than one end.
    pub not_ended_once: u64,
    /// Completed with another result than the right one.
    pub wrong: u64,
    /// Stored twice under one number.
    pub doubled: u64,
    /// Whether the network's own figures say the same.
    pub figures_agree: bool,
    /// From the last fault until everything had ended, in seconds.
    pub recovered_s: f64,
}

impl TaskReport {
    /// Whether every promise held.
    pub fn promises_held(&self) -> bool {
        self.lost + self.stuck + self.not_ended_once + self.wrong + self.doubled == 0 && self.figures_agree
    }
}

/// The processes that may be hit.
struct Targets {
    stack: Arc<Stack>,
    workers: Vec<Mutex<Child>>,
}

/// One run in a directory of its own, which stays when something was found.
///
/// # Errors
/// As [`run`].
pub async fn run_in_directory(args: &RunArgs) -> Result<TaskReport> {
    let dir = super::run::directory(args)?;
    let report = run(args, dir.path()).await;
    if args.keep || !matches!(&report, Ok(report) if report.promises_held()) {
        eprintln!("logs are in {}", dir.keep().display());
    }
    report
}

/// Runs the load and the faults, waits until everything has ended, and compares.
///
/// # Errors
/// When it couldn't be run to its end; what it finds is no error.
pub async fn run(args: &RunArgs, dir: &Path) -> Result<TaskReport> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let stack = Arc::new(Stack::start(options(args, dir)?).await?);
    let mut targets = Targets { stack: stack.clone(), workers: Vec::new() };
    for index in 0..args.recipients.max(2) {
        let mut child = worker_child(&stack, index);
        child.start().await?;
        targets.workers.push(Mutex::new(child));
    }
    for worker in &targets.workers {
        let line = worker.lock().await.line(JOIN).await?;
        anyhow::ensure!(line == READY, "a worker said {line:?}");
    }
    let start = Instant::now();
    let targets = Arc::new(targets);
    let faults = tokio::spawn(break_things(
        targets.clone(),
        StdRng::seed_from_u64(seed),
        start,
        Duration::from_secs_f64(args.every),
        args.lasts(),
    ));
    let (submitted, acknowledged) = submit(args, &stack, start).await?;
    let kills = faults.await??;
    let over = Instant::now();
    let mut report = TaskReport {
        seed,
        kills,
        submitted,
        acknowledged: acknowledged.len() as u64,
        ..TaskReport::default()
    };
    let pool = PgPool::connect(&stack.direct_database_url()).await?;
    let deadline = over + args.deadline.map_or(Duration::from_secs(120), Duration::from_secs_f64);
    let open = "SELECT count(*) FROM agent_tasks WHERE finished_at IS NULL OR NOT counted";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await? > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    report.recovered_s = over.elapsed().as_secs_f64();
    judge(&pool, &acknowledged, &mut report).await?;
    Ok(report)
}

fn options(args: &RunArgs, dir: &Path) -> Result<Options> {
    let quick = [
        ("AGENTNET_TASK_LEASE_SECONDS", "4"),
        ("AGENTNET_TASK_ACCEPT_SECONDS", "2"),
        ("AGENTNET_TASK_RETRY_SECONDS", "0.2"),
    ];
    let mut env: BTreeMap<String, String> =
        quick.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    env.insert("DEV_AUTH".to_owned(), args.signed.to_string());
    env.extend(args.service_env.iter().cloned());
    Ok(Options {
        dir: dir.to_owned(),
        program: std::env::current_exe()?,
        nats_nodes: 1,
        registries: 2,
        persisters: 1,
        proxied: false,
        clock_offset_ms: 0,
        small_disk: None,
        service_env: env,
    })
}

fn worker_child(stack: &Stack, index: usize) -> Child {
    let name = format!("worker-{index}");
    let env = BTreeMap::from([
        ("AGENTNET_NATS_URL".to_owned(), stack.nats_url()),
        ("DEV_AUTH_KEY_DIR".to_owned(), stack.dir().join("keys").display().to_string()),
        ("AGENTNET_IDENTITY_DIR".to_owned(), stack.dir().join("keys").display().to_string()),
        ("HOME".to_owned(), stack.dir().display().to_string()),
        ("LOG_LEVEL".to_owned(), "info".to_owned()),
    ]);
    stack.child(&name, ["worker", "--username", &name].map(str::to_owned).to_vec(), env)
}

/// Kills a registry replica and a worker every `every`, and starts them again.
async fn break_things(
    targets: Arc<Targets>,
    mut rng: StdRng,
    start: Instant,
    every: Duration,
    last: Duration,
) -> Result<u64> {
    let (mut at, mut kills) = (every, 0);
    while at <= last {
        sleep_until((start + at).into()).await;
        let registry = rng.random_range(0..targets.stack.registries.len());
        let worker = rng.random_range(0..targets.workers.len());
        targets.stack.registries[registry].lock().await.child.kill().await?;
        targets.workers[worker].lock().await.kill().await?;
        kills += 2;
        sleep(DOWN.mul_f64(rng.random_range(0.3..=1.0))).await;
        targets.stack.registries[registry].lock().await.start().await?;
        targets.workers[worker].lock().await.start().await?;
        at = (at + every).max(start.elapsed() + every / 2);
    }
    Ok(kills)
}

/// Submits at the rate, whatever becomes of it; how many, and those that were acknowledged, by their ids.
async fn submit(args: &RunArgs, stack: &Stack, start: Instant) -> Result<(u64, HashMap<String, u64>)> {
    let settings = NatsSettings::from_url(&stack.nats_url())?;
    let mut nodes = Vec::new();
    for index in 0..args.senders.max(1) {
        let name = format!("submitter-{index}");
        nodes.push(
            AgentNode::builder(&name).username(&name).nats(settings.clone()).dev_auth(false).start().await?,
        );
    }
    let mut waiting = JoinSet::new();
    let mut count = 0;
    while start.elapsed() < args.lasts() {
        sleep_until((start + Duration::from_secs_f64(count as f64 / args.rate)).into()).await;
        let node = nodes[count as usize % nodes.len()].clone();
        let content = Content { n: count, ms: count * 37 % 120 };
        waiting.spawn(async move {
            let task = node.submit_task("double", content).max_attempts(100);
            task.idempotency_key(format!("number {count}"))
                .await
                .map(|task| (task.task_id().to_owned(), count))
        });
        count += 1;
    }
    let mut acknowledged = HashMap::new();
    while let Some(submitted) = waiting.join_next().await {
        match submitted? {
            Ok((id, n)) => drop(acknowledged.insert(id, n)),
            Err(error) => tracing::warn!(%error, "a task wasn't acknowledged; nothing was promised about it"),
        }
    }
    for node in nodes {
        node.close().await?;
    }
    if acknowledged.is_empty() {
        bail!("no task was acknowledged");
    }
    Ok((count, acknowledged))
}

type Row = (String, String, String, Option<String>, i64, i64);

async fn judge(pool: &PgPool, acknowledged: &HashMap<String, u64>, report: &mut TaskReport) -> Result<()> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT k.task_id, k.state, k.task_data, k.result, \
         (SELECT count(*) FROM agent_task_attempts a WHERE a.task_id = k.task_id AND a.state <> 'queued'), \
         (SELECT count(*) FROM agent_task_attempts a WHERE a.task_id = k.task_id \
             AND a.outcome IN ('lease_lapsed', 'worker_lost', 'not_accepted')) \
         FROM agent_tasks k",
    )
    .fetch_all(pool)
    .await?;
    let mut numbers: HashMap<u64, u64> = HashMap::new();
    let (mut there, mut completed) = (0, 0);
    for (task_id, state, data, result, ends, lost_attempts) in rows {
        let content: Content = serde_json::from_str(&data)?;
        *numbers.entry(content.n).or_default() += 1;
        report.attempts_lost += lost_attempts.unsigned_abs();
        let state = TaskState::parse(&state).map_err(|code| anyhow::anyhow!("{code}"))?;
        completed += i64::from(state == TaskState::Completed);
        let known = acknowledged.get(&task_id);
        there += u64::from(known.is_some());
        if !state.is_end() {
            report.stuck += u64::from(known.is_some());
            continue;
        }
        if ends != 1 {
            report.not_ended_once += 1;
        }
        let outcome = result.as_deref().and_then(|text| serde_json::from_str::<Outcome>(text).ok());
        match (state, outcome) {
            (TaskState::Completed, Some(outcome)) if outcome.doubled == content.n * 2 => {
                report.completed += 1
            }
            (TaskState::Completed, _) => report.wrong += 1,
            _ => report.ended_otherwise += 1,
        }
    }
    report.lost = report.acknowledged - there;
    report.doubled = numbers.values().filter(|count| **count > 1).count() as u64;
    let told: Option<i64> = sqlx::query_scalar("SELECT ended FROM agent_task_ends WHERE state = 'completed'")
        .fetch_optional(pool)
        .await?;
    report.figures_agree = told.unwrap_or(0) == completed;
    Ok(())
}
