//! What a run came to, for people and for programs.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{
    Table,
    presets::{ASCII_MARKDOWN, UTF8_HORIZONTAL_ONLY},
};
use serde::Serialize;

use super::{
    check::Verdict,
    latency::{Latencies, millis},
    scenario::Scenario,
};

/// The outcome of one run. Counts are messages; `lost` to `unsettled` must be 0.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was done.
    pub scenario: String,
    /// The same seed hits the same targets.
    pub seed: u64,
    /// Seconds of load.
    pub seconds: f64,
    /// Messages per second that were asked for.
    pub rate: f64,
    /// Handed to senders.
    pub sent: u64,
    /// Senders were told that they are stored, or more, or in the sender's file.
    pub acknowledged: u64,
    /// Of these, had their effect.
    pub handled: u64,
    /// Acknowledged, and not stored, not shown or not handled.
    pub lost: u64,
    /// Had their effect twice, or are shown twice.
    pub duplicated: u64,
    /// A stage was claimed that didn't happen.
    pub untrue: u64,
    /// Handled out of order without a redelivery.
    pub disordered: u64,
    /// Threads whose counters are wrong.
    pub miscounted: u64,
    /// What is where it doesn't belong.
    pub stray: u64,
    /// Handled, and not recorded as such in the end.
    pub unsettled: u64,
    /// Processes killed.
    pub kills: u64,
    /// Processes that ended by themselves and were started again.
    pub collapsed: u64,
    /// From the last fault (or the end of the load, when there was none) until nothing moved any more; null when that
    /// didn't happen within the deadline.
    pub recovered_s: Option<f64>,
    /// Median time from when a message was due until its sender was told; requests not counted.
    pub ack_p50_ms: f64,
    /// The same, 99th percentile.
    pub ack_p99_ms: f64,
    /// The longest.
    pub longest_wait_ms: f64,
    /// Handler calls beyond one per message, which had no second effect.
    pub repeated_calls: u64,
    /// Sends that ended in an error, by code: nothing was promised.
    pub failed: BTreeMap<String, u64>,
    /// Messages that a sender whose queue was full didn't send.
    pub skipped: u64,
    /// Seconds and milliseconds beyond what the scenario is allowed.
    pub over_limit: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Examples of what must not be.
    #[serde(skip)]
    pub examples: Vec<String>,
}

impl Report {
    /// Whether every promise held, whatever it took.
    pub fn promises_held(&self) -> bool {
        [
            self.lost,
            self.duplicated,
            self.untrue,
            self.disordered,
            self.miscounted,
            self.stray,
            self.unsettled,
        ]
        .iter()
        .all(|count| *count == 0)
    }

    /// Whether it came to rest, and nothing took longer than allowed.
    pub fn in_time(&self) -> bool {
        self.recovered_s.is_some() && self.over_limit.is_empty()
    }

    /// Takes over counts and examples.
    pub(super) fn judged(&mut self, verdict: &Verdict) {
        self.acknowledged = verdict.acknowledged;
        self.handled = verdict.handled;
        self.lost = verdict.lost.count;
        self.duplicated = verdict.duplicated.count;
        self.untrue = verdict.untrue.count;
        self.disordered = verdict.disordered.count;
        self.miscounted = verdict.miscounted.count;
        self.stray = verdict.stray.count;
        self.unsettled = verdict.unsettled.count;
        self.repeated_calls = verdict.repeated_calls;
        self.failed = verdict.failed.iter().map(|(code, count)| (code.clone(), *count)).collect();
        for (name, finding) in verdict.findings() {
            self.examples.extend(finding.examples.iter().map(|example| format!("{name}: {example}")));
        }
    }

    /// Takes over waiting times.
    pub(super) fn waited(&mut self, scenario: Scenario, waits: &Latencies) {
        self.ack_p50_ms = millis(waits.percentile(50.0));
        self.ack_p99_ms = millis(waits.percentile(99.0));
        self.longest_wait_ms = millis(waits.longest());
        if let Some(limit) = scenario.wait_limit().filter(|limit| waits.longest() > *limit) {
            self.over_limit.push(format!(
                "a sender waited {} ms, limit {} ms",
                self.longest_wait_ms,
                millis(limit)
            ));
        }
    }

    /// Takes over how long it took to come to rest.
    pub(super) fn recovered(&mut self, scenario: Scenario, took: Option<Duration>) {
        self.recovered_s = took.map(|took| (took.as_secs_f64() * 100.0).round() / 100.0);
        let limit = scenario.recovery_limit();
        if took.is_none_or(|took| took > limit) {
            self.over_limit.push(format!("not back to normal within {} s", limit.as_secs()));
        }
    }
}

/// A table of runs, as text or as Markdown.
pub fn table(reports: &[Report], markdown: bool) -> Table {
    let mut table = Table::new();
    table.load_style(if markdown { ASCII_MARKDOWN } else { UTF8_HORIZONTAL_ONLY });
    table.set_header([
        "scenario",
        "sent",
        "acknowledged",
        "handled",
        "lost",
        "duplicated",
        "other findings",
        "kills",
        "recovered s",
        "ack p50 ms",
        "ack p99 ms",
        "longest ms",
    ]);
    for report in reports {
        let other = report.untrue + report.disordered + report.miscounted + report.stray + report.unsettled;
        table.add_row([
            report.scenario.clone(),
            report.sent.to_string(),
            report.acknowledged.to_string(),
            report.handled.to_string(),
            report.lost.to_string(),
            report.duplicated.to_string(),
            other.to_string(),
            report.kills.to_string(),
            report.recovered_s.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1}")),
            format!("{:.1}", report.ack_p50_ms),
            format!("{:.1}", report.ack_p99_ms),
            format!("{:.0}", report.longest_wait_ms),
        ]);
    }
    table
}
