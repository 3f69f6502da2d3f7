//! The verdict: what was promised against what happened.
//!
//! Three witnesses, none of which trusts another: the senders' ledger (what they were told), the recipients' journals
//! (what was done), and Postgres, read both through the registry's `thread_messages` and directly.

mod counters;
mod database;
mod history;
mod order;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use agentnet::Stage;
use anyhow::Result;

pub use self::{database::Database, history::history};
use super::{
    journal::{Reader, Row, What},
    ledger::{Entry, Form, Told},
};

/// Examples kept of each kind of finding.
const EXAMPLES: usize = 10;

/// Something that must not be, how often, and some of the cases.
#[derive(Debug, Clone, Default)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The first cases.
    pub examples: Vec<String>,
}

impl Finding {
    fn add(&mut self, case: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(case());
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Messages whose senders were told that they are stored, or more, or in the sender's file.
    pub acknowledged: u64,
    /// Of these, those that had their effect.
    pub handled: u64,
    /// Messages whose senders got an error; nothing was promised.
    pub failed: HashMap<String, u64>,
    /// Acknowledged, and not stored, not shown in its thread, or not handled.
    pub lost: Finding,
    /// Handled twice by effect, or shown twice.
    pub duplicated: Finding,
    /// A stage was claimed that didn't happen.
    pub untrue: Finding,
    /// Later messages of a sender handled before earlier ones, though none was redelivered.
    pub disordered: Finding,
    /// Counters of threads that differ from their messages.
    pub miscounted: Finding,
    /// What is where it doesn't belong: unknown messages, wrong recipients, quarantined messages that are no poison.
    pub stray: Finding,
    /// Handled messages whose delivery record doesn't say so in the end.
    pub unsettled: Finding,
    /// Handler calls beyond one per message: harmless repeats that had no second effect.
    pub repeated_calls: u64,
}

impl Verdict {
    /// Every finding by name.
    pub fn findings(&self) -> [(&'static str, &Finding); 7] {
        [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("untrue", &self.untrue),
            ("disordered", &self.disordered),
            ("miscounted", &self.miscounted),
            ("stray", &self.stray),
            ("unsettled", &self.unsettled),
        ]
    }
}

/// What the recipients did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Effects by message, with the journal they stand in.
    pub effects: HashMap<String, Vec<(String, Row)>>,
    /// Handler calls by message.
    pub calls: HashMap<String, Vec<Row>>,
    /// Effects in the order they were had, by journal.
    pub in_order: HashMap<String, Vec<Row>>,
}

impl Deeds {
    /// Reads every journal of a directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(journals: &Path) -> Result<Self> {
        let mut deeds = Self::default();
        for file in std::fs::read_dir(journals)? {
            let path = file?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for row in Reader::open(&path)?.read()? {
                if row.what == What::Call {
                    deeds.calls.entry(row.message_id.clone()).or_default().push(row);
                    continue;
                }
                deeds.in_order.entry(name.clone()).or_default().push(row.clone());
                deeds.effects.entry(row.message_id.clone()).or_default().push((name.clone(), row));
            }
        }
        Ok(deeds)
    }
}

/// Everything that is judged.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What senders were told before anything else was looked at.
    pub entries: &'a [Entry],
    /// Everything that was sent until the end.
    pub sent: &'a [Entry],
    /// What recipients did.
    pub deeds: &'a Deeds,
    /// What Postgres holds.
    pub database: &'a Database,
    /// Message ids by thread as `thread_messages` shows them, newest first.
    pub history: &'a HashMap<String, Vec<String>>,
    /// Bodies that were sent to be refused.
    pub poison: &'a HashSet<Vec<u8>>,
    /// Usernames of accounts with one session at a time: only they can keep an order.
    pub single_sessions: &'a HashSet<String>,
}

/// Judges a run that has come to rest.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    judge_promises(evidence, &mut verdict);
    judge_deeds(evidence, &mut verdict);
    judge_records(evidence, &mut verdict);
    order::judge(evidence, &mut verdict.disordered);
    counters::judge(evidence.database, &mut verdict.miscounted);
    verdict
}

/// What senders were told, against what is.
fn judge_promises(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let shown: HashSet<&str> = evidence.history.values().flatten().map(String::as_str).collect();
    for entry in evidence.entries {
        if let Some((Told::Failed(code), _)) = &entry.told {
            *verdict.failed.entry(code.clone()).or_default() += 1;
        }
        let Some(promise) = entry.promised() else { continue };
        verdict.acknowledged += 1;
        let effects = evidence.deeds.effects.get(&entry.message_id).map_or(0, Vec::len);
        verdict.handled += u64::from(effects > 0);
        let missing = if !evidence.database.messages.contains_key(&entry.message_id) {
            Some("is not in Postgres")
        } else if !shown.contains(entry.message_id.as_str()) {
            Some("is not shown in its thread")
        } else if effects == 0 {
            Some("was never handled")
        } else {
            None
        };
        let who = || {
            format!(
                "{} ({:?} {} -> {} #{})",
                entry.message_id, entry.form, entry.sender, entry.recipient, entry.seq
            )
        };
        if let Some(missing) = missing {
            verdict.lost.add(|| format!("{} was acknowledged as {promise} and {missing}", who()));
        }
        if entry.acknowledged() == Some(Stage::Processed) && effects == 0 {
            verdict
                .untrue
                .add(|| format!("{}: its sender was told `processed`, and there was no effect", who()));
        }
    }
}

/// What recipients did, against what they should.
fn judge_deeds(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let sent: HashMap<&str, &Entry> = evidence.sent.iter().map(|e| (e.message_id.as_str(), e)).collect();
    for (id, effects) in &evidence.deeds.effects {
        if effects.len() > 1 {
            verdict.duplicated.add(|| {
                let by: Vec<String> = effects.iter().map(|(j, row)| format!("{j}/{}", row.session)).collect();
                format!("{id} was handled {} times by effect: {}", effects.len(), by.join(", "))
            });
        }
        let Some(entry) = sent.get(id.as_str()) else {
            verdict.stray.add(|| format!("{id} was handled, and nobody sent it"));
            continue;
        };
        for (journal, _) in effects.iter().filter(|(journal, _)| *journal != entry.recipient) {
            verdict.stray.add(|| format!("{id} for {} was handled by {journal}", entry.recipient));
        }
    }
    verdict.repeated_calls = evidence.deeds.calls.values().map(|calls| calls.len() as u64 - 1).sum();
    for (thread, ids) in evidence.history {
        let mut seen = HashSet::new();
        for id in ids.iter().filter(|id| !seen.insert(id.as_str())) {
            verdict.duplicated.add(|| format!("{id} is shown twice in {thread}"));
        }
    }
}

/// What Postgres holds, against what was sent and done.
fn judge_records(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let sent: HashMap<&str, &Entry> = evidence.sent.iter().map(|e| (e.message_id.as_str(), e)).collect();
    for (id, message) in &evidence.database.messages {
        let known = sent.contains_key(id.as_str());
        let answers = message.parent.as_deref().is_some_and(|parent| sent.contains_key(parent));
        if !known && !answers {
            verdict.stray.add(|| format!("{id} is stored, and nobody sent it"));
        }
    }
    for delivery in &evidence.database.deliveries {
        let id = &delivery.message_id;
        let handled = evidence.deeds.effects.contains_key(id);
        if delivery.state == "processed" && !handled {
            verdict
                .untrue
                .add(|| format!("{id}: its delivery record says `processed`, and there was no effect"));
        }
        let settles = sent.get(id.as_str()).is_some_and(|entry| entry.form != Form::Legacy);
        if handled && settles && delivery.state != "processed" {
            verdict
                .unsettled
                .add(|| format!("{id} was handled, and its delivery record says `{}`", delivery.state));
        }
    }
    for body in evidence.database.quarantine.iter().filter(|body| !evidence.poison.contains(*body)) {
        verdict.stray.add(|| {
            format!("in quarantine, and no poison: {}", String::from_utf8_lossy(&body[..body.len().min(200)]))
        });
    }
}

#[cfg(test)]
mod tests;
