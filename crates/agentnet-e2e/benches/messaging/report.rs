//! What is printed.

use std::time::Duration;

use super::{Size, cpu::Usage};

const WIDTH: usize = 44;

/// What was set, before the first figure.
pub fn settings(size: &Size) {
    println!(
        "separate processes, one thread each: sender, recipient, registry, persister, nats-server, Postgres"
    );
    println!("Postgres: fsync = on, synchronous_commit = on; JetStream: file storage; open mode, unsigned");
    println!("lifted for the bench: 5 messages/s of one sender, backlog of 100 (8192 here)");
    println!("{} rounds of at most {:?} and {} messages a side\n", size.rounds, size.turn, size.messages);
    println!("{:<WIDTH$} {:>10} {:>10} {:>7} {:>7}", "a second", "ours", "limit", "ratio", "goal");
}

/// Ours beside the limit; `goal` is the least the ratio may be.
pub fn ratio(name: &str, ours: f64, limit: f64, goal: Option<f64>) {
    let ratio = ours / limit;
    let (goal, verdict) = verdict(goal, |goal| ratio >= goal);
    println!("{name:<WIDTH$} {ours:>10.0} {limit:>10.0} {ratio:>7.2} {goal:>7} {verdict}");
}

/// A figure that must stay below a limit.
pub fn below(name: &str, value: f64, unit: &str, limit: Option<f64>) {
    let (goal, verdict) = verdict(limit, |limit| value < limit);
    let goal = if goal.is_empty() { goal } else { format!("< {goal} {unit}") };
    println!("{name:<WIDTH$} {value:>10.2} {unit:<4} {goal:>20} {verdict}");
}

/// A latency and its limit, in milliseconds.
pub fn latency(name: &str, value: Duration, limit_ms: Option<f64>) {
    below(name, value.as_secs_f64() * 1e3, "ms", limit_ms);
}

/// CPU time of each process, in microseconds for each operation.
pub fn cpu(what: &str, used: &Usage, operations: usize) {
    println!("  CPU us {what}: {}", used.each(operations));
}

fn verdict(goal: Option<f64>, met: impl Fn(f64) -> bool) -> (String, &'static str) {
    match goal {
        Some(goal) => (goal.to_string(), if met(goal) { "ok" } else { "SHORT" }),
        None => (String::new(), ""),
    }
}
