//! Tasks a second beside a bare JetStream work queue on the same nats-server, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench tasks [-- --quick]`
//!
//! A private nats-server and Postgres, a registry and a persister, submitters and workers, all in this process. The limit
//! is a work-queue stream in a file with one pull consumer: published with acknowledgement, pulled, acknowledged with
//! confirmation. Ours and the limit take turns; medians of five rounds (three with `--quick`) are printed as a table in
//! Markdown. Rates of assigning and completing are Postgres' own times. Every task is checked to have been completed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench reports, or ends"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Duration};

use agentnet::{AgentNode, TaskRun};
use async_nats::jetstream::{
    self,
    consumer::pull,
    stream::{Config, RetentionPolicy},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgPool;
use support::Stack;
use tokio::{task::JoinSet, time::Instant};

/// Submissions under way at once.
const UNDER_WAY: usize = 64;
/// Tasks that a worker has in hand.
const IN_HAND: u32 = 8;
const WORKERS: [usize; 3] = [1, 10, 100];
const QUEUE: &str = "bare_tasks";

struct Size {
    rounds: usize,
    tasks: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = match args.iter().any(|arg| arg == "--quick") {
        true => Size { rounds: 3, tasks: 500 },
        false => Size { rounds: 5, tasks: 3_000 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(measure(&size));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tasks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Rates of one turn, in tasks a second.
#[derive(Default)]
struct Rates {
    submitted: Vec<f64>,
    assigned: Vec<f64>,
    completed: Vec<f64>,
}

async fn measure(size: &Size) {
    println!("{} rounds of {} tasks\n", size.rounds, size.tasks);
    println!("| workers | tasks a second | ours | bare work queue |");
    println!("|---|---|---|---|");
    let stack = Stack::start().await;
    let pool = PgPool::connect(stack.database_url()).await.unwrap();
    let submitter = stack.node("submitter").start().await.unwrap();
    for count in WORKERS {
        let (mut ours, mut bare) = (Rates::default(), Rates::default());
        for round in 0..size.rounds {
            ours_once(&stack, &submitter, &pool, count, size.tasks, round, &mut ours).await;
            bare_once(&stack, count, size.tasks, &mut bare).await;
        }
        let row = |what: &str, ours: Vec<f64>, bare: Vec<f64>| {
            println!("| {count} | {what} | {:.0} | {:.0} |", median(ours), median(bare));
        };
        row("submitted", ours.submitted, bare.submitted);
        row("assigned", ours.assigned, bare.assigned);
        row("completed", ours.completed, bare.completed);
    }
}

/// Submits with nobody there, then has them done by workers that come.
async fn ours_once(
    stack: &Stack,
    submitter: &AgentNode,
    pool: &PgPool,
    count: usize,
    tasks: usize,
    round: usize,
    rates: &mut Rates,
) {
    let kind = format!("bench {count} {round}");
    let start = Instant::now();
    let submitted: Vec<String> = stream::iter(0..tasks)
        .map(|n| {
            let task = submitter.submit_task(&kind, n);
            async move { task.await.map(|task| task.task_id().to_owned()) }
        })
        .buffer_unordered(UNDER_WAY)
        .try_collect()
        .await
        .unwrap();
    rates.submitted.push(rate(tasks, start.elapsed()));
    assert_eq!(submitted.len(), tasks);
    let mut workers = Vec::new();
    for n in 0..count {
        let node = stack.node(&format!("worker-{n}")).task_concurrency(IN_HAND);
        let node = node.on_task(|task: TaskRun| async move { Ok(task.attempt()) });
        workers.push(node.start());
    }
    let workers: Vec<AgentNode> = stream::iter(workers).buffer_unordered(8).try_collect().await.unwrap();
    let open = "SELECT count(*) FROM agent_tasks WHERE state <> 'completed' AND task_type = $1";
    while sqlx::query_scalar::<_, i64>(open).bind(&kind).fetch_one(pool).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let spans: (f64, f64) = sqlx::query_as(
        "SELECT extract(epoch FROM max(assigned_at) - min(assigned_at))::float8, \
         extract(epoch FROM max(finished_at) - min(assigned_at))::float8 FROM agent_tasks WHERE task_type = $1",
    )
    .bind(&kind)
    .fetch_one(pool)
    .await
    .unwrap();
    rates.assigned.push(tasks as f64 / spans.0.max(1e-6));
    rates.completed.push(tasks as f64 / spans.1.max(1e-6));
    for worker in workers {
        worker.close().await.unwrap();
    }
}

/// The same over a bare work queue.
async fn bare_once(stack: &Stack, count: usize, tasks: usize, rates: &mut Rates) {
    let context = jetstream::new(stack.raw.clone());
    let _ = context.delete_stream(QUEUE).await;
    let config = Config {
        name: QUEUE.to_owned(),
        subjects: vec![QUEUE.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    let queue = context.create_stream(config).await.unwrap();
    let start = Instant::now();
    let published = stream::iter(0..tasks)
        .map(|n| {
            let context = context.clone();
            async move {
                let ack = context.publish(QUEUE, n.to_string().into()).await.unwrap();
                ack.await.map(drop)
            }
        })
        .buffer_unordered(UNDER_WAY);
    published.try_collect::<Vec<()>>().await.unwrap();
    rates.submitted.push(rate(tasks, start.elapsed()));
    let durable = pull::Config { durable_name: Some(QUEUE.to_owned()), ..pull::Config::default() };
    let consumer = queue.create_consumer(durable).await.unwrap();
    let (told, mut done) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..count {
        let (consumer, told) = (consumer.clone(), told.clone());
        workers.spawn(async move {
            let messages =
                consumer.stream().max_messages_per_batch(IN_HAND as usize).messages().await.unwrap();
            messages
                .try_for_each_concurrent(IN_HAND as usize, |message| {
                    let told = told.clone();
                    async move {
                        let taken = Instant::now();
                        message.double_ack().await.unwrap();
                        let _ = told.send((taken, Instant::now()));
                        Ok(())
                    }
                })
                .await
                .unwrap();
        });
    }
    let mut times = Vec::new();
    while times.len() < tasks {
        times.push(done.recv().await.unwrap());
    }
    workers.abort_all();
    let last = |pick: fn(&(Instant, Instant)) -> Instant| times.iter().map(pick).max().unwrap();
    rates.assigned.push(rate(tasks, last(|(taken, _)| *taken) - start));
    rates.completed.push(rate(tasks, last(|(_, acked)| *acked) - start));
    context.delete_stream(QUEUE).await.unwrap();
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
