//! The rows: each measures, checks that nothing was lost or doubled, and prints.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agentnet::{
    AgentNode, Stage,
    proto::rpc::{AgentInfo, RegisterRequest, RegisterResponse},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    Size, bare,
    cpu::Usage,
    load::{self, Run, median, percentile},
    network::{Network, close},
    report,
};

const IN_FLIGHT: [usize; 3] = [1, 16, 256];
/// Accepted sends of the original AgentNode, limits lifted: published, not measured here.
const ORIGINAL: [f64; 3] = [1_750.0, 4_500.0, 5_400.0];
const BEATEN: [f64; 3] = [3.0, 10.0, 25.0];
/// What every message says.
pub const TEXT: &str = "Please summarise document 4711 for the weekly report, thank you";

/// What every message carries.
pub fn payload() -> Value {
    json!({"text": TEXT})
}

/// How a message is sent.
#[derive(Clone, Copy)]
enum How {
    /// Until a recipient accepted it.
    Accepted,
    /// Until it is committed and accepted.
    Stored,
    /// Until the reply came.
    Request,
}

async fn run(node: &AgentNode, to: &str, how: How, in_flight: usize, size: &Size) -> Result<Run> {
    let (node, to): (AgentNode, Arc<str>) = (node.clone(), to.into());
    load::closed(in_flight, size.messages, size.turn, move || {
        let (node, to) = (node.clone(), Arc::clone(&to));
        async move {
            match how {
                How::Accepted => {
                    node.send_to_account(&to, payload()).until(Stage::Accepted).await?;
                }
                How::Stored => {
                    let sent = node.send_to_account(&to, payload()).await?;
                    ensure!(sent.stored && sent.is_accepted(), "sent, and {:?}", sent.stage);
                }
                How::Request => {
                    let reply = node.request_account(&to, payload()).await?;
                    ensure!(reply.text().is_some(), "an empty reply");
                }
            }
            Ok(())
        }
    })
    .await
}

/// One turn of ours with everything kept, from empty tables to the last receipt.
async fn turn(
    full: &Network,
    row: &str,
    how: How,
    in_flight: usize,
    size: &Size,
    used: &mut Usage,
) -> Result<Run> {
    full.reset().await?;
    let recipient = full.agent("recipient").await?;
    let node = full.sender().start().await?;
    let before = full.usage(Some(&recipient));
    let run = run(&node, &recipient.line, how, in_flight, size).await?;
    let replies = if matches!(how, How::Request) { run.done } else { 0 };
    full.settle(row, run.done, replies, 0).await?;
    used.add(&before, &full.usage(Some(&recipient)));
    close(&node).await?;
    Ok(run)
}

/// The same with nobody who stores: how fast the two clients and the server are. What was sent can only be counted by
/// the accepted receipts and at the recipient.
async fn wire_turn(wire: &Network, in_flight: usize, size: &Size, used: &mut Usage) -> Result<Run> {
    let recipient = wire.agent("recipient").await?;
    // Never confirmed, so the outbox must hold it all, and nothing may be sent again meanwhile.
    let node = wire
        .sender()
        .outbox(1_000_000, 1 << 31)
        .receipt_timeout(Duration::from_secs(120))
        .default_ttl(Duration::from_secs(300))
        .start()
        .await?;
    let before = wire.usage(Some(&recipient));
    let run = run(&node, &recipient.line, How::Accepted, in_flight, size).await?;
    used.add(&before, &wire.usage(Some(&recipient)));
    let handled = wire.handled().await?;
    // The receipt leaves before the handler starts.
    ensure!(
        handled as usize <= run.done && handled as usize + in_flight >= run.done,
        "{} accepted, {handled} handled",
        run.done
    );
    Ok(run)
}

/// The numbers of messages in flight that were asked for.
fn levels(size: &Size) -> impl Iterator<Item = (usize, usize)> {
    let only = size.only;
    IN_FLIGHT.into_iter().enumerate().filter(move |(_, in_flight)| only.is_none_or(|only| only == *in_flight))
}

/// Sends that wait for the recipient only; with `full`, also those of a network that stores.
pub async fn accepted(full: Option<&Network>, wire: &Network, size: &Size) -> Result<()> {
    for (level, in_flight) in levels(size) {
        let goal = if in_flight == 1 { 0.9 } else { 0.7 };
        let (mut limits, mut ours, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        let mut used: [Usage; 3] = Default::default();
        let mut done = [0; 3];
        for _ in 0..size.rounds {
            let [bare_used, ours_used, stored_used] = &mut used;
            let before = wire.usage(None);
            let bare = bare::requests(&wire.client, in_flight, size).await?;
            bare_used.add(&before, &wire.usage(None));
            let wired = wire_turn(wire, in_flight, size, ours_used).await?;
            let kept = match full {
                Some(full) => {
                    Some(turn(full, "accepted", How::Accepted, in_flight, size, stored_used).await?)
                }
                None => None,
            };
            for (sum, run) in done.iter_mut().zip([Some(&bare), Some(&wired), kept.as_ref()]) {
                *sum += run.map_or(0, |run| run.done);
            }
            limits.push(bare.rate());
            ours.push(wired.rate());
            stored.extend(kept.map(|run| run.rate()));
        }
        let (limit, ours) = (median(limits), median(ours));
        report::ratio(&format!("accepted, {in_flight} in flight / request-reply"), ours, limit, Some(goal));
        if !stored.is_empty() {
            report::ratio("  the same while everything is stored", median(stored), limit, None);
        }
        let (original, beaten) = (ORIGINAL[level], BEATEN[level]);
        report::ratio("  / the original (published, not measured here)", ours, original, Some(beaten));
        let what = ["a bare request", "a message", "a message, all stored"];
        for ((what, used), done) in what.into_iter().zip(&used).zip(done).filter(|(_, done)| *done > 0) {
            report::cpu(what, used, done);
        }
    }
    Ok(())
}

/// Sends that wait for the commit and the recipient.
pub async fn stored(full: &Network, size: &Size) -> Result<()> {
    for (_, in_flight) in levels(size) {
        let (mut limits, mut ours, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
        let mut used = Usage::default();
        for _ in 0..size.rounds {
            full.reset().await?;
            limits.push(bare::inserts(full.database(), size.messages, size.turn).await?);
            let run = turn(full, "stored", How::Stored, in_flight, size, &mut used).await?;
            ours.push(run.rate());
            latencies.extend(run.latencies);
        }
        let goal = (in_flight == 256).then_some(0.5);
        let name = format!("stored and accepted, {in_flight} in flight / UNNEST 500");
        report::ratio(&name, median(ours), median(limits), goal);
        report::latency("  p50", percentile(&mut latencies, 50), None);
        report::latency("  p99", percentile(&mut latencies, 99), None);
        report::cpu("a message", &used, latencies.len());
    }
    Ok(())
}

/// Latency of sends at a rate well below the limit.
pub async fn paced(full: &Network, size: &Size) -> Result<()> {
    full.reset().await?;
    let recipient = full.agent("recipient").await?;
    let node = full.sender().start().await?;
    let to: Arc<str> = recipient.line.as_str().into();
    let mut run = load::paced(500, size.paced, || {
        let (node, to) = (node.clone(), Arc::clone(&to));
        async move {
            node.send_to_account(&to, payload()).await?;
            Ok(())
        }
    })
    .await?;
    full.settle("paced", run.done, 0, 0).await?;
    report::latency("stored and accepted at 500/s, p50", percentile(&mut run.latencies, 50), Some(5.0));
    report::latency("stored and accepted at 500/s, p99", percentile(&mut run.latencies, 99), Some(25.0));
    close(&node).await
}

/// Requests and their replies, both stored.
pub async fn requests(full: &Network, size: &Size) -> Result<()> {
    for (_, in_flight) in levels(size) {
        let (mut limits, mut ours) = (Vec::new(), Vec::new());
        let mut used = Usage::default();
        for _ in 0..size.rounds {
            limits.push(bare::requests(&full.client, in_flight, size).await?.rate());
            ours.push(turn(full, "request", How::Request, in_flight, size, &mut used).await?.rate());
        }
        let name = format!("request(), {in_flight} in flight / request-reply");
        report::ratio(&name, median(ours), median(limits), None);
    }
    Ok(())
}

/// Sends that wait for the connection only: a burst the outbox holds, and afterwards everything must be stored.
pub async fn no_ack(full: &Network, size: &Size) -> Result<()> {
    const BURST: usize = 5_000;
    let (mut limits, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        limits.push(bare::publishes(&full.client, BURST).await?);
        full.reset().await?;
        let recipient = full.agent("recipient").await?;
        let node = full.sender().outbox(BURST, 64 << 20).start().await?;
        let (sender, to): (AgentNode, Arc<str>) = (node.clone(), recipient.line.as_str().into());
        let run = load::closed(256, BURST, Duration::from_secs(30), move || {
            let (node, to) = (sender.clone(), Arc::clone(&to));
            async move {
                node.send_to_account(&to, payload()).no_ack().await?;
                Ok(())
            }
        })
        .await?;
        ours.push(run.rate());
        full.settle("no-ack", run.done, 0, 0).await?;
        close(&node).await?;
    }
    report::ratio("no_ack, a burst of 5,000 / publish", median(ours), median(limits), None);
    Ok(())
}

/// By how much the straight line through the rates rises from the first to the last, as a share of their mean.
fn trend(rates: &[f64]) -> f64 {
    let (n, mean) = (rates.len() as f64, rates.iter().sum::<f64>() / rates.len() as f64);
    let place = |i: usize| i as f64 - (n - 1.0) / 2.0;
    let rise: f64 = rates.iter().enumerate().map(|(i, rate)| place(i) * (rate - mean)).sum();
    let spread: f64 = (0..rates.len()).map(|i| place(i).powi(2)).sum();
    if spread > 0.0 { rise / spread * (n - 1.0) / mean } else { 0.0 }
}

/// Whether many messages later everything is as fast as at first.
pub async fn steady(full: &Network, size: &Size) -> Result<()> {
    const WINDOW: usize = 10_000;
    full.reset().await?;
    let recipient = full.agent("recipient").await?;
    let node = full.sender().start().await?;
    let total = size.steady;
    // Connections, statements and caches are warm, as they are for every later window.
    let warm = Size { messages: 2_000, turn: Duration::from_secs(10), ..*size };
    let warmed = run(&node, &recipient.line, How::Stored, 256, &warm).await?.done;
    let (done, marks) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![Instant::now()])));
    let (sender, to): (AgentNode, Arc<str>) = (node.clone(), recipient.line.as_str().into());
    let seen = Arc::clone(&marks);
    let run = load::closed(256, total, Duration::from_secs(120), move || {
        let (node, to) = (sender.clone(), Arc::clone(&to));
        let (done, marks) = (Arc::clone(&done), Arc::clone(&seen));
        async move {
            node.send_to_account(&to, payload()).await?;
            if (done.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(WINDOW) {
                marks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            }
            Ok(())
        }
    })
    .await?;
    ensure!(run.done == total, "only {} of {total} messages in time", run.done);
    full.settle("steady", warmed + run.done, 0, 0).await?;
    close(&node).await?;
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let rates: Vec<f64> = marks
        .windows(2)
        .filter_map(|pair| Some(WINDOW as f64 / pair.get(1)?.duration_since(*pair.first()?).as_secs_f64()))
        .collect();
    // Single windows scatter by more than the goal allows for, so a third of the run is held against another; the
    // straight line through all of them says whether the rate falls at all.
    let third = (rates.len() / 3).max(1);
    let mean = |rates: &[f64]| rates.len() as f64 / rates.iter().map(|rate| rate.recip()).sum::<f64>();
    let (first, _) = rates.split_at(third);
    let (_, last) = rates.split_at(rates.len() - third);
    let name = format!("stored, the last {} / the first", third * WINDOW);
    report::ratio(&name, mean(last), mean(first), Some(0.95));
    report::below("  trend over the run", 100.0 * trend(&rates), "%", None);
    println!("  each 10,000: {}", rates.iter().map(|r| format!("{r:.0}")).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Resident memory of each process.
pub async fn memory(full: &Network, size: &Size) -> Result<()> {
    let idle = full.agent("idle").await?;
    report::below("idle node", idle.rss_mib()?, "MiB", Some(15.0));
    if let Some(persister) = &full.persister {
        report::below("persister, after all rows", persister.rss_mib()?, "MiB", Some(60.0));
    }
    report::below("registry, before the sessions", full.registry.rss_mib()?, "MiB", None);
    let next = Arc::new(AtomicUsize::new(0));
    let client = full.client.clone();
    let run = load::closed(16, size.sessions, Duration::from_secs(60), move || {
        let (client, number) = (client.clone(), next.fetch_add(1, Ordering::Relaxed));
        async move { join(&client, number).await }
    })
    .await?;
    ensure!(run.done == size.sessions, "only {} sessions in time", run.done);
    let name = format!("registry, {} sessions", size.sessions);
    report::below(&name, full.registry.rss_mib()?, "MiB", Some(60.0));
    if let Some(persister) = &full.persister {
        report::below("persister, with those sessions", persister.rss_mib()?, "MiB", Some(60.0));
    }
    report::below("registrations a second, 16 in flight", run.rate(), "", None);
    Ok(())
}

/// One session as an agent makes it: registered, then present.
async fn join(client: &async_nats::Client, number: usize) -> Result<()> {
    let request = RegisterRequest {
        agent_id: format!("bench-session-{number}"),
        name: format!("Session {number}"),
        capabilities: vec!["summarise".to_owned()],
        schema_version: Some("1.2".to_owned()),
        ..RegisterRequest::default()
    };
    let answer = client.request("registry.register", serde_json::to_vec(&request)?.into()).await?;
    let answer: RegisterResponse = serde_json::from_slice(&answer.payload)?;
    let hello = AgentInfo {
        agent_id: request.agent_id,
        name: request.name,
        capabilities: request.capabilities,
        account_id: Some(answer.account_id),
        username: Some(answer.username),
        session_tag: Some(answer.session_tag),
        schema_version: request.schema_version,
        ..AgentInfo::default()
    };
    client.publish("registry.hello", serde_json::to_vec(&hello)?.into()).await?;
    Ok(())
}
