//! What the security modes cost, beside what bounds it, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench security [-- --quick] [-- ROW...]`
//!
//! Three private networks over one Postgres (fsync and synchronous_commit on), one in each mode: a nats-server, a
//! registry, a persister and recipients, each a process of its own on one thread; the sender is this process. What is
//! compared takes turns; medians of five rounds (three with `--quick`) are printed. After each turn everything that was
//! sent must stand in Postgres, processed once. The rate limit of 5 messages a second and the backlog of 100 are lifted.
//!
//! - `signed`: sends until `processed` in signed mode. The limit is what signing, verifying and transport add up to: the
//!   same sends in open mode, where sender and recipient sign and verify a message and a receipt by hand, each where it
//!   has to be done. That the persister verifies both as well is not in the limit.
//! - `request`: the median of requests, one in flight, in open, signed and secure mode, and what of it is ed25519: request
//!   and reply are signed and verified once each on the way.
//!
//! A number picks one of 1, 16 and 256 in flight of `signed`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

#[path = "../messaging/cpu.rs"]
mod cpu;
mod crypto;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "../messaging/load.rs"]
mod load;
mod network;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "../messaging/report.rs"]
mod report;

use std::{process::ExitCode, sync::Arc, time::Duration};

use agentnet::{Stage, proto::Security};
use anyhow::{Result, ensure};
use serde_json::json;

use cpu::Usage;
use crypto::Work;
use load::{Run, median, percentile};
use network::{Network, Recipient, Servers};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How often the sides take turns.
    rounds: usize,
    /// Longest one turn of one side may take.
    turn: Duration,
    /// Most messages in one turn.
    messages: usize,
}

const FULL: Size = Size { rounds: 5, turn: Duration::from_millis(1500), messages: 30_000 };
const QUICK: Size = Size { rounds: 3, turn: Duration::from_millis(200), messages: 2_000 };
const IN_FLIGHT: [usize; 3] = [1, 16, 256];
const TEXT: &str = "Please summarise document 4711 for the weekly report, thank you";
/// Untimed operations before the first turn: keys are known and connections warm then.
const WARM: usize = 50;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = args.first().and_then(|arg| arg.strip_prefix("child-")) {
        return network::child(role);
    }
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = if args.iter().any(|arg| arg == "--quick") { QUICK } else { FULL };
    let only = args.iter().find_map(|arg| arg.parse().ok());
    let is_row = |arg: &String| !arg.starts_with("--") && arg.parse::<usize>().is_err();
    let wanted: Vec<String> = args.into_iter().filter(is_row).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|rt| rt.block_on(measure(size, only, &wanted))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("security: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(size: Size, only: Option<usize>, wanted: &[String]) -> Result<()> {
    let is_wanted = |row: &str| wanted.is_empty() || wanted.iter().any(|part| row.contains(part.as_str()));
    println!(
        "separate processes, one thread each; Postgres: fsync = on; {} rounds of {:?}",
        size.rounds, size.turn
    );
    println!("lifted for the bench: 5 messages/s of one sender, backlog of 100 (8192 here)\n");
    let ed25519 = crypto::measure();
    println!(
        "ed25519, of a message: sign {:.1} us, verify {:.1} us\n",
        ed25519.sign.as_secs_f64() * 1e6,
        ed25519.verify.as_secs_f64() * 1e6
    );
    let servers = Servers::start().await?;
    let open = Network::start(&servers, Security::Open).await?;
    let signed = Network::start(&servers, Security::Signed).await?;
    signed.acquaint().await?;
    if is_wanted("signed") {
        let levels = IN_FLIGHT.into_iter().filter(|level| only.is_none_or(|only| only == *level));
        for in_flight in levels {
            sends(&open, &signed, in_flight, &size).await?;
        }
    }
    if is_wanted("request") {
        let secure = Network::start(&servers, Security::Secure).await?;
        secure.acquaint().await?;
        requests(&[&open, &signed, &secure], ed25519.sign + ed25519.verify, &size).await?;
    }
    Ok(())
}

/// One turn of sends, each awaited until it is processed.
async fn send_turn(
    network: &Network,
    to: Recipient,
    work: Option<&Arc<Work>>,
    in_flight: usize,
    size: &Size,
    used: &mut Usage,
) -> Result<Run> {
    network.reset().await?;
    let before = network.usage();
    let (node, account, work) = (network.sender.clone(), network.account(to), work.cloned());
    let run = load::closed(in_flight, size.messages, size.turn, move || {
        let (node, account, work) = (node.clone(), Arc::clone(&account), work.clone());
        async move {
            if let Some(work) = &work {
                work.sign_message();
            }
            let sent = node.send_to_account(&account, json!({"text": TEXT})).until(Stage::Processed).await?;
            ensure!(sent.stage == Some(Stage::Processed), "sent, and {:?}", sent.stage);
            if let Some(work) = &work {
                work.verify_receipt()?;
            }
            Ok(())
        }
    })
    .await?;
    network.settle(run.done, 0).await?;
    used.add(&before, &network.usage());
    Ok(run)
}

async fn sends(open: &Network, signed: &Network, in_flight: usize, size: &Size) -> Result<()> {
    let work = Arc::new(Work::new());
    let (mut ours, mut limits, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let (mut used, mut done) = (<[Usage; 3]>::default(), [0; 3]);
    let warm = Size { messages: WARM, ..*size };
    for to in [Recipient::Plain, Recipient::Working] {
        send_turn(open, to, None, 1, &warm, &mut Usage::default()).await?;
    }
    send_turn(signed, Recipient::Plain, None, 1, &warm, &mut Usage::default()).await?;
    for _ in 0..size.rounds {
        let [bare_used, limit_used, ours_used] = &mut used;
        let plain = send_turn(open, Recipient::Plain, None, in_flight, size, bare_used).await?;
        let limit = send_turn(open, Recipient::Working, Some(&work), in_flight, size, limit_used).await?;
        let run = send_turn(signed, Recipient::Plain, None, in_flight, size, ours_used).await?;
        for (sum, run) in done.iter_mut().zip([&plain, &limit, &run]) {
            *sum += run.done;
        }
        bare.push(plain.rate());
        limits.push(limit.rate());
        ours.push(run.rate());
    }
    let (ours, limit) = (median(ours), median(limits));
    let name = format!("signed, {in_flight} in flight / sign + verify + transport");
    report::ratio(&name, ours, limit, Some(0.8));
    report::ratio("  / transport alone (open mode)", ours, median(bare), None);
    for ((what, used), done) in
        ["open", "open, with ed25519 by hand", "signed"].into_iter().zip(&used).zip(done)
    {
        report::cpu(what, used, done);
    }
    Ok(())
}

/// Medians of requests, one in flight.
async fn requests(modes: &[&Network; 3], ed25519: Duration, size: &Size) -> Result<()> {
    let mut latencies: [Vec<Duration>; 3] = Default::default();
    for round in 0..=size.rounds {
        for (network, latencies) in modes.iter().zip(&mut latencies) {
            network.reset().await?;
            let (node, account) = (network.sender.clone(), network.account(Recipient::Plain));
            // The first round only warms up.
            let messages = if round == 0 { WARM } else { size.messages };
            let run = load::closed(1, messages, size.turn, move || {
                let (node, account) = (node.clone(), Arc::clone(&account));
                async move {
                    let reply = node.request_account(&account, json!({"text": TEXT})).await?;
                    ensure!(reply.text().is_some(), "an empty reply");
                    Ok(())
                }
            })
            .await?;
            network.settle(run.done, run.done).await?;
            if round > 0 {
                latencies.extend(run.latencies);
            }
        }
    }
    let [open, signed, secure] = latencies.map(|mut latencies| percentile(&mut latencies, 50));
    println!();
    report::latency("request(), 1 in flight, open, p50", open, None);
    report::latency("  signed, p50", signed, None);
    report::latency("  secure, p50", secure, None);
    report::below("  secure / open", secure.as_secs_f64() / open.as_secs_f64(), "", Some(1.5));
    // Request and reply; receipts are signed beside.
    let crypto = 2 * ed25519;
    report::below("  ed25519 on the way", crypto.as_secs_f64() * 1e6, "us", None);
    report::below("  its share of secure", 100.0 * crypto.as_secs_f64() / secure.as_secs_f64(), "%", None);
    let more = secure.saturating_sub(open).as_secs_f64();
    if more > 0.0 {
        report::below("  its share of what secure adds", 100.0 * crypto.as_secs_f64() / more, "%", None);
    }
    Ok(())
}
