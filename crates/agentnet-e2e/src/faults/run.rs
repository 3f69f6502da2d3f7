//! One run, from an empty directory to a verdict.

use std::{
    collections::{BTreeMap, HashSet},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::time::sleep_until;

use super::{
    agents::{Fleet, Traits},
    check::{self, Database, Deeds, Evidence},
    inject::Injector,
    latency::Latencies,
    ledger::{Entry, Form, Ledger},
    load::{self, Load, Target},
    options::RunArgs,
    report::Report,
    rest,
    scenario::{Sabotage, Scenario},
    senders::{self, Senders},
    service::EARLY_ACK,
    stack::{Options, SmallDisk, Stack},
};

/// How wrong clocks are, where they are.
const SKEW: Duration = Duration::from_secs(25);
/// Work per message of a slow consumer: it takes half of what it is sent at 500 messages a second.
const SLOW_MS: u64 = 16;

/// Senders that are processes, in the scenario that kills them.
const SENDER_PROCESSES: usize = 3;

/// Runs a scenario.
///
/// # Errors
/// When it couldn't be run to its end; what it finds is no error.
pub async fn run(args: &RunArgs, scenario: Scenario) -> Result<Report> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let dir = directory(args)?;
    let outcome = run_in(args, scenario, seed, &dir).await;
    let clean = matches!(&outcome, Ok(report) if report.promises_held() && report.in_time());
    if args.keep || !clean {
        let path = dir.keep();
        eprintln!("journals, ledger and logs are in {}", path.display());
    }
    outcome.with_context(|| format!("scenario {scenario}, seed {seed}"))
}

async fn run_in(args: &RunArgs, scenario: Scenario, seed: u64, dir: &TempDir) -> Result<Report> {
    let stack = Arc::new(Stack::start(stack_options(args, scenario, seed, dir)?).await?);
    let fleet = Arc::new(Fleet::start(&stack, &traits(args, scenario, seed)).await?);
    let ledger = Arc::new(Ledger::create(&dir.path().join("ledger.jsonl"))?);
    let mut plan = load_plan(args, scenario, seed, &stack, &fleet);
    let mut processes = senders::Plan {
        senders: 0,
        rate: plan.rate / 2.0,
        lasts: plan.lasts,
        targets: plan.targets.clone(),
        no_outbox: plan.no_outbox,
        signed: plan.signed,
    };
    if scenario.has_sender_processes() {
        // They carry half of the load; the others are what is measured.
        (processes.senders, plan.rate) = (SENDER_PROCESSES, plan.rate / 2.0);
    }
    let mut load = Load::prepare(plan, ledger.clone()).await?;
    let senders = Arc::new(Senders::start(&stack, ledger.clone(), &processes).await?);
    let start = Instant::now();
    let ledger_start = ledger.at(start);
    let away = (scenario == Scenario::Offline).then(|| fleet.len() - 1);
    if let Some(sleeper) = away {
        fleet.send_away(sleeper).await?;
    }
    let faults = {
        let injector = Injector::new(stack.clone(), fleet.clone(), senders.clone(), seed, start);
        tokio::spawn(injector.run(scenario, Duration::from_secs_f64(args.every), args.lasts()))
    };
    let wake = {
        let (fleet, at) = (fleet.clone(), start + args.lasts());
        tokio::spawn(async move {
            let Some(sleeper) = away else { return Ok(()) };
            sleep_until(at.into()).await;
            fleet.start_again(sleeper).await
        })
    };
    let sent = load.run(start).await;
    wake.await??;
    let log = faults.await??;
    let over = Instant::now();
    fleet.revive().await?;
    senders.revive().await?;
    let (quiet, unrest) = rest::wait(&stack, &load, args.rest_deadline(scenario)).await?;
    let entries = ledger.entries();
    let mut report = empty(args, scenario, seed);
    let last_fault = log.events.last().map_or(over, |(at, _)| start + *at);
    let took = (unrest == rest::Unrest::default()).then(|| quiet.saturating_duration_since(last_fault));
    report.recovered(scenario, took);
    if took.is_none() {
        report.notes.push(format!("left when the deadline came: {unrest:?}"));
        report.notes.push(match rest::describe_stream(&stack).await {
            Ok(state) => state,
            Err(error) => format!("the stream can't be looked at: {error:#}"),
        });
    }
    report.sent = entries.len() as u64;
    report.kills = log.kills;
    report.collapsed = log.collapsed;
    report.skipped = sent.skipped;
    report.waited(scenario, &waits(&entries, |_| true));
    if away.is_some() {
        report.notes.push(others(args, &entries, ledger_start + args.lasts()));
    }
    let judged = judge(args, &stack, &load, &entries, &sent.poison).await?;
    report.judged(&judged);
    load.close().await;
    std::fs::write(dir.path().join("faults.txt"), format!("{:#?}\n{report:#?}\n", log.events))?;
    Ok(report)
}

async fn judge(
    args: &RunArgs,
    stack: &Stack,
    load: &Load,
    entries: &[Entry],
    poison: &HashSet<Vec<u8>>,
) -> Result<check::Verdict> {
    let database = Database::read(&stack.direct_database_url()).await?;
    let threads: HashSet<String> = entries.iter().map(|entry| entry.thread_id.clone()).collect();
    let history = check::history(&load.registry(), threads).await?;
    let deeds = Deeds::read(&stack.dir().join("journals"))?;
    // In this order also a run that never comes to rest is judged fairly: what was promised before is looked for in
    // what is, and what is in all that was sent until now.
    let sent = load.ledger().entries();
    // The first recipient has two sessions, which share its messages as they come.
    let single_sessions: HashSet<String> = (1..args.recipients).map(recipient).collect();
    Ok(check::judge(&Evidence {
        entries,
        sent: &sent,
        deeds: &deeds,
        database: &database,
        history: &history,
        poison,
        single_sessions: &single_sessions,
    }))
}

pub(super) fn directory(args: &RunArgs) -> Result<TempDir> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new()
        .prefix("agentnet-faults-")
        .tempdir_in(&base)
        .with_context(|| format!("can't make a directory in {}", base.display()))?;
    // As root, Postgres runs as somebody else, who must reach its own part.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
    Ok(dir)
}

fn recipient(index: usize) -> String {
    format!("recipient-{index}")
}

/// All wrong clocks of a run are wrong in the same direction: a message may be 30 s ahead, not 50.
fn clock_offset_ms(scenario: Scenario, seed: u64) -> i64 {
    let skew = i64::try_from(SKEW.as_millis()).unwrap_or(0);
    match (scenario, seed % 2) {
        (Scenario::Skew, 0) => skew,
        (Scenario::Skew, _) => -skew,
        _ => 0,
    }
}

fn stack_options(args: &RunArgs, scenario: Scenario, seed: u64, dir: &TempDir) -> Result<Options> {
    let mut env = BTreeMap::from([("DEV_AUTH".to_owned(), args.signed.to_string())]);
    env.extend(args.service_env.iter().cloned());
    if args.sabotage == Some(Sabotage::EarlyAck) {
        env.insert(EARLY_ACK.to_owned(), "true".to_owned());
    }
    if scenario == Scenario::DiskNats {
        // The stream must fit the disk that it fills.
        env.insert("AGENTNET_STREAM_MAX_BYTES".to_owned(), (64 << 20).to_string());
    }
    Ok(Options {
        dir: dir.path().to_owned(),
        program: std::env::current_exe()?,
        nats_nodes: if scenario == Scenario::Cluster { 3 } else { 1 },
        registries: 2,
        persisters: 2,
        proxied: scenario.is_proxied(),
        clock_offset_ms: clock_offset_ms(scenario, seed),
        small_disk: match scenario {
            Scenario::DiskNats => Some(SmallDisk::Nats),
            Scenario::DiskPostgres => Some(SmallDisk::Postgres),
            _ => None,
        },
        service_env: env,
    })
}

fn traits(args: &RunArgs, scenario: Scenario, seed: u64) -> Vec<Traits> {
    let count = args.recipients.max(2);
    let base = Traits {
        forgetful: args.sabotage == Some(Sabotage::NoDedupe),
        signed: args.signed,
        ..Traits::default()
    };
    let mut all: Vec<Traits> = (0..count)
        .map(|index| Traits {
            username: recipient(index),
            capable: index + 2 >= count,
            clock_offset_ms: if index % 2 == 1 { clock_offset_ms(scenario, seed) } else { 0 },
            ..base.clone()
        })
        .collect();
    if scenario == Scenario::SlowConsumer {
        (all[1].effect_ms, all[1].max_pending) = (SLOW_MS, Some(100));
        // The fault ends with the load: recovery is what comes after.
        all[1].effect_lasts = Some(args.lasts());
    }
    // A second session of the first account.
    all.push(all[0].clone());
    if scenario == Scenario::Offline {
        all.push(Traits { username: "sleeper".to_owned(), ..base });
    }
    all
}

fn load_plan(args: &RunArgs, scenario: Scenario, seed: u64, stack: &Stack, fleet: &Fleet) -> load::Plan {
    let target = |member: &super::agents::Member| Target {
        username: member.username.clone(),
        account_id: member.account_id.clone(),
    };
    let sleeper = (scenario == Scenario::Offline).then(|| fleet.members.last().map(target)).flatten();
    load::Plan {
        nats_url: stack.nats_url(),
        rate: args.rate,
        // While the one who was away is served, the others' figures are of interest.
        lasts: if sleeper.is_some() { args.lasts().mul_f64(1.5) } else { args.lasts() },
        senders: args.senders,
        targets: fleet.members.iter().take(args.recipients.max(2)).map(target).collect(),
        backlog: sleeper.map(|target| (target, args.backlog)),
        poison_every: if scenario == Scenario::Poison { 100 } else { 0 },
        clock_offset_ms: clock_offset_ms(scenario, seed),
        signed: args.signed,
        key_dir: stack.dir().join("keys"),
        no_outbox: args.sabotage == Some(Sabotage::NoOutbox),
    }
}

/// How long senders waited for the acknowledgement of plain sends.
fn waits(entries: &[Entry], filter: impl Fn(&Entry) -> bool) -> Latencies {
    let plain = entries.iter().filter(|entry| matches!(entry.form, Form::Direct | Form::Capability));
    Latencies::of(plain.filter(|entry| filter(entry)).filter_map(Entry::waited))
}

/// What the one who was away cost the others.
fn others(args: &RunArgs, entries: &[Entry], back: Duration) -> String {
    let p99 = |after: bool| {
        let waits = waits(entries, |entry| entry.recipient != "sleeper" && (entry.due >= back) == after);
        super::latency::millis(waits.percentile(99.0))
    };
    format!(
        "p99 of the others: {} ms before, {} ms after the one with {} messages came back",
        p99(false),
        p99(true),
        args.backlog
    )
}

fn empty(args: &RunArgs, scenario: Scenario, seed: u64) -> Report {
    let name = match args.sabotage {
        Some(sabotage) => format!("{scenario} ({sabotage:?})"),
        None => scenario.to_string(),
    };
    Report {
        scenario: name,
        seed,
        seconds: args.seconds,
        rate: args.rate,
        sent: 0,
        acknowledged: 0,
        handled: 0,
        lost: 0,
        duplicated: 0,
        untrue: 0,
        disordered: 0,
        miscounted: 0,
        stray: 0,
        unsettled: 0,
        kills: 0,
        collapsed: 0,
        recovered_s: None,
        ack_p50_ms: 0.0,
        ack_p99_ms: 0.0,
        longest_wait_ms: 0.0,
        repeated_calls: 0,
        failed: BTreeMap::new(),
        skipped: 0,
        over_limit: Vec::new(),
        notes: Vec::new(),
        examples: Vec::new(),
    }
}
