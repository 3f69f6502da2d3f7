//! Breaks a private network while it is used, and says what was lost. See docs/DURABILITY.md.

use std::process::ExitCode;

use agentnet_e2e::faults::{
    agent::{self, AgentArgs},
    options::RunArgs,
    report::{Report, table},
    run,
    scenario::Scenario,
    sender::{self, SenderArgs},
    service, stack,
    tasks::{self, WorkerArgs},
};
use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about, args_conflicts_with_subcommands = true, args_override_self = true)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Processes of a run.
#[derive(Debug, Subcommand)]
enum Part {
    /// A recipient.
    #[command(hide = true)]
    Agent(AgentArgs),
    /// A sender.
    #[command(hide = true)]
    Sender(SenderArgs),
    /// One that does tasks.
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// A registry replica.
    #[command(hide = true)]
    Registry,
    /// A persister replica.
    #[command(hide = true)]
    Persister,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.part {
        Some(Part::Registry) => service::registry(),
        Some(Part::Persister) => service::persister(),
        Some(Part::Agent(args)) => end(log().and_then(|()| recipient(args)).map(|()| true)),
        Some(Part::Sender(args)) => end(log().and_then(|()| sending(args)).map(|()| true)),
        Some(Part::Worker(args)) => end(log().and_then(|()| working(args)).map(|()| true)),
        None if cli.run.tasks => end(log().and_then(|()| task_run(&cli.run))),
        None => end(log().and_then(|()| runs(&cli.run))),
    }
}

fn end(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn log() -> Result<()> {
    let filter = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    subscriber.try_init().map_err(|error| anyhow::anyhow!(error))
}

fn recipient(args: AgentArgs) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(agent::run(args))
}

fn sending(args: SenderArgs) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(sender::run(args))
}

fn working(args: WorkerArgs) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tasks::worker(args))
}

/// Whether every task that was acknowledged reached one end.
fn task_run(args: &RunArgs) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = tasks::run_in_directory(args) => report,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(report.promises_held())
}

/// Whether every promise held, in every run, in time.
fn runs(args: &RunArgs) -> Result<bool> {
    let mut scenarios = args.scenarios();
    let needs_disk = |scenario: &Scenario| matches!(scenario, Scenario::DiskNats | Scenario::DiskPostgres);
    if scenarios.iter().any(needs_disk) {
        match stack::reason_disks_are_impossible() {
            // Before there is a second thread.
            None => stack::unshare_mounts()?,
            Some(reason) => {
                eprintln!("skipped, because small disks are impossible here: {reason}");
                scenarios.retain(|scenario| !needs_disk(scenario));
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reports = runtime.block_on(async {
        tokio::select! {
            reports = all(args, &scenarios) => reports,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })?;
    println!("{}", table(&reports, args.markdown));
    for report in &reports {
        explain(report);
    }
    if args.json {
        for report in &reports {
            println!("{}", serde_json::to_string(report)?);
        }
    }
    Ok(reports.iter().all(|report| report.promises_held() && report.in_time()))
}

async fn all(args: &RunArgs, scenarios: &[Scenario]) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for scenario in scenarios {
        eprintln!(
            "{scenario}: {} messages/s for {} s; rate limits of recipients are off",
            args.rate, args.seconds
        );
        reports.push(run::run(args, *scenario).await?);
    }
    Ok(reports)
}

/// What the table doesn't say.
fn explain(report: &Report) {
    let name = &report.scenario;
    println!("{name}: seed {}", report.seed);
    for (code, count) in &report.failed {
        println!("{name}: {count} sends failed with {code}; nothing was promised about them");
    }
    if report.skipped + report.collapsed + report.repeated_calls > 0 {
        println!(
            "{name}: {} not sent because the senders were behind, {} processes ended by themselves, {} repeated calls",
            report.skipped, report.collapsed, report.repeated_calls
        );
    }
    for line in report.over_limit.iter().chain(&report.notes).chain(&report.examples) {
        println!("{name}: {line}");
    }
}
