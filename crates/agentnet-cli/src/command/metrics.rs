//! `agentnet metrics`.

use agentnet::proto::rpc::MetricsResponse;

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::{Table, number},
        time,
    },
};

/// The registry's own figures
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints queue, handlers and latencies of the registry that answers; people see those that were used.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-metrics").await?;
    let answer = link.registry(args.rpc.timeout).metrics().await;
    link.close().await;
    ctx.out.show(&answer?, |answer| people(ctx, answer))
}

fn people(ctx: &Context, answer: &MetricsResponse) -> Result<(), Failure> {
    let queue = &answer.db_write_queue;
    let mut facts = Table::facts(ctx.out.width());
    facts.fact("Registry", clean(&answer.server_id));
    facts.fact("At", format!("{} UTC", time::date_time(&answer.generated_at)));
    facts.fact("Not stored yet", format!("{} messages, {} bytes", queue.size, queue.bytes));
    if queue.max_bytes > 0 {
        facts.fact("Room for", format!("{} bytes", queue.max_bytes));
    }
    if queue.batch_size > 0 {
        facts.fact("Batches", format!("up to {} messages", queue.batch_size));
    }
    ctx.out.line(facts.render())?;
    let called: Vec<_> = answer.handlers.iter().filter(|(_, counts)| counts.calls > 0).collect();
    if !called.is_empty() {
        let mut table = Table::new(&["Handler", "Calls", "Errors"], ctx.out.width());
        for (name, counts) in called {
            table.row(vec![clean(name).into(), number(counts.calls), number(counts.errors)]);
        }
        ctx.out.line(format_args!("\n{}", table.render()))?;
    }
    let timed: Vec<_> = answer.latency_ms.iter().filter(|(_, summary)| summary.count > 0).collect();
    if !timed.is_empty() {
        let mut table = Table::new(&["Latency (ms)", "Count", "p50", "p95", "p99"], ctx.out.width());
        for (name, summary) in timed {
            let [p50, p95, p99] =
                [summary.p50, summary.p95, summary.p99].map(|ms| number(format!("{ms:.2}")));
            table.row(vec![clean(name).into(), number(summary.count), p50, p95, p99]);
        }
        ctx.out.line(format_args!("\n{}", table.render()))?;
        ctx.out.line(paint(DIM, format_args!("latencies of the last {} calls each", answer.window_size)))?;
    }
    Ok(())
}
