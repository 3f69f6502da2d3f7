//! The whole stack beside what bounds it, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench messaging [-- --quick] [-- ROW...]`
//!
//! A private nats-server and Postgres (fsync and synchronous_commit on), a registry, a persister and a recipient, each
//! a process of its own on one thread, as in production; the sender is this process. Ours and the limit take turns,
//! medians of five rounds (three with `--quick`) are printed. At the end of every row everything that was sent is
//! counted in Postgres and at the recipient: one message too few or too many ends the run.
//!
//! The default limit of 5 messages a second from one account, the backlog of 100 and the breaker are lifted: they'd
//! be all there is to measure.
//!
//! ROW picks rows by a part of their name: `accepted`, `wire` (the part of `accepted` without storage), `stored`,
//! `paced`, `request`, `no-ack`, `steady`, `memory`. A number picks one of 1, 16 and 256 in flight.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

mod bare;
mod children;
mod cpu;
mod load;
mod network;
mod report;
mod rows;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How often ours and the limit take turns.
    pub rounds: usize,
    /// Longest one turn of one side may take.
    pub turn: Duration,
    /// Most messages in one turn.
    pub messages: usize,
    /// How long messages are sent at a fixed rate.
    pub paced: Duration,
    /// Messages of the steadiness row.
    pub steady: usize,
    /// Sessions at the registry.
    pub sessions: usize,
    /// Only rows with that many in flight.
    pub only: Option<usize>,
}

const FULL: Size = Size {
    rounds: 5,
    turn: Duration::from_millis(800),
    messages: 60_000,
    paced: Duration::from_secs(10),
    steady: 240_000,
    sessions: 10_000,
    only: None,
};

const QUICK: Size = Size {
    rounds: 3,
    turn: Duration::from_millis(150),
    messages: 5_000,
    paced: Duration::from_secs(2),
    steady: 60_000,
    sessions: 1_000,
    only: None,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = args.first().and_then(|arg| arg.strip_prefix("child-")) {
        return children::run(role);
    }
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = if args.iter().any(|arg| arg == "--quick") { QUICK } else { FULL };
    let size = Size { only: args.iter().find_map(|arg| arg.parse().ok()), ..size };
    let is_row = |arg: &String| !arg.starts_with("--") && arg.parse::<usize>().is_err();
    let wanted: Vec<String> = args.into_iter().filter(is_row).collect();
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(size, &wanted)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("messaging: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(size: Size, wanted: &[String]) -> Result<()> {
    report::settings(&size);
    let servers = network::Servers::start().await?;
    let full = network::Network::start(&servers, true).await?;
    let is_wanted = |row: &str| wanted.is_empty() || wanted.iter().any(|part| row.contains(part.as_str()));
    if is_wanted("accepted") || is_wanted("wire") {
        // Without a persister and its stream: what of the cost is the client's.
        let wire = network::Network::start(&servers, false).await?;
        rows::accepted(is_wanted("accepted").then_some(&full), &wire, &size).await?;
    }
    if is_wanted("stored") {
        rows::stored(&full, &size).await?;
    }
    if is_wanted("stored") || is_wanted("paced") {
        rows::paced(&full, &size).await?;
    }
    if is_wanted("request") {
        rows::requests(&full, &size).await?;
    }
    if is_wanted("no-ack") {
        rows::no_ack(&full, &size).await?;
    }
    if is_wanted("steady") {
        rows::steady(&full, &size).await?;
    }
    if is_wanted("memory") {
        rows::memory(&full, &size).await?;
    }
    Ok(())
}
