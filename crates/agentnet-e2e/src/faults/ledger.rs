//! What senders sent and what they were told about it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agentnet::Stage;
use serde::Serialize;

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// To an account.
    Direct,
    /// To an account, with a reply awaited.
    Request,
    /// To whoever has the capability.
    Capability,
    /// As an original SDK does when it hears no receipt: the same bytes twice on the inbox, nothing awaited.
    Legacy,
}

/// What a sender was told in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The send returned without an error: at least this stage.
    Acknowledged(Stage),
    /// It is in the sender's file: it will be stored, whatever happens to the sender.
    Queued,
    /// The send returned an error of this code: nothing is promised.
    Failed(String),
    /// Nothing was asked for.
    Nothing,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub message_id: String,
    /// Username of the sender.
    pub sender: String,
    /// Journal of whoever must handle it: a username or a capability.
    pub recipient: String,
    /// The sender's count of messages to this recipient.
    pub seq: u64,
    /// How it was sent.
    pub form: Form,
    /// Its thread.
    pub thread_id: String,
    /// When it was due to be sent, in the ledger's time: waiting for its turn counts.
    pub due: Duration,
    /// What the sender was told, and when.
    pub told: Option<(Told, Duration)>,
}

impl Entry {
    /// The stage the sender may believe in.
    pub fn acknowledged(&self) -> Option<Stage> {
        match &self.told {
            Some((Told::Acknowledged(stage), _)) => Some(*stage),
            _ => None,
        }
    }

    /// What the sender may believe: the stage, or that it is in its file.
    pub fn promised(&self) -> Option<&'static str> {
        match &self.told {
            Some((Told::Acknowledged(stage), _)) => Some(stage.as_str()),
            Some((Told::Queued, _)) => Some("queued"),
            _ => None,
        }
    }

    /// How long the sender waited for its acknowledgement.
    pub fn waited(&self) -> Option<Duration> {
        let (told, at) = self.told.as_ref()?;
        matches!(told, Told::Acknowledged(_)).then(|| at.saturating_sub(self.due))
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    message_id: &'a str,
    sender: &'a str,
    recipient: &'a str,
    seq: u64,
    form: Form,
    due_ms: f64,
    told_ms: f64,
    stage: Option<&'static str>,
    error: Option<&'a str>,
}

/// The senders' memory of a run, also written to a file for whoever looks for a cause.
#[derive(Debug)]
pub struct Ledger {
    start: Instant,
    entries: Mutex<HashMap<String, Entry>>,
    open: AtomicUsize,
    file: Mutex<BufWriter<File>>,
}

impl Ledger {
    /// A new ledger; time counts from now.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            start: Instant::now(),
            entries: Mutex::default(),
            open: AtomicUsize::new(0),
            file: Mutex::new(BufWriter::new(File::create(path)?)),
        })
    }

    /// Time since the beginning of the run.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time of a moment, as the ledger counts it.
    pub fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.start)
    }

    /// A message is about to be sent.
    pub fn sending(&self, entry: Entry) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(entry.message_id.clone(), entry);
    }

    /// What its sender was told.
    pub fn told(&self, message_id: &str, told: Told) {
        let now = self.elapsed();
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(message_id) else { return };
        if entry.told.is_none() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        entry.told = Some((told, now));
        let entry = entry.clone();
        drop(entries);
        self.write(&entry, now);
    }

    /// What its sender was told later; never less than before.
    pub fn advanced(&self, message_id: &str, stage: Stage) {
        if let Some(Entry { told: Some((Told::Acknowledged(known), _)), .. }) =
            self.lock().get_mut(message_id)
        {
            *known = stage.max(*known);
        }
    }

    /// A sender was killed: what it waits for, it won't be told.
    pub fn sender_died(&self, sender: &str) {
        let entries = self.lock();
        let waiting = entries.values().filter(|entry| entry.sender == sender && entry.told.is_none());
        let waiting: Vec<String> = waiting.map(|entry| entry.message_id.clone()).collect();
        drop(entries);
        for message_id in waiting {
            self.told(&message_id, Told::Nothing);
        }
    }

    /// Messages whose senders wait.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Everything that was sent.
    pub fn entries(&self) -> Vec<Entry> {
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
        self.lock().values().cloned().collect()
    }

    fn write(&self, entry: &Entry, now: Duration) {
        let (stage, error) = match &entry.told {
            Some((Told::Failed(code), _)) => (None, Some(code.as_str())),
            _ => (entry.promised(), None),
        };
        let line = Line {
            message_id: &entry.message_id,
            sender: &entry.sender,
            recipient: &entry.recipient,
            seq: entry.seq,
            form: entry.form,
            due_ms: super::latency::millis(entry.due),
            told_ms: super::latency::millis(now),
            stage,
            error,
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The file is for people; the verdict rests on what is in memory.
        let _ = serde_json::to_writer(&mut *file, &line);
        let _ = file.write_all(b"\n");
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ledger is older than the load: its beginning is no part of anybody's waiting time.
    #[test]
    fn waiting_counts_from_when_a_message_was_due() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&dir.path().join("ledger.jsonl")).unwrap();
        let load_began = ledger.start + Duration::from_secs(3600);
        let due = ledger.at(load_began) + Duration::from_secs(1);
        assert_eq!(due, Duration::from_secs(3601));
        let mut entry = Entry {
            message_id: "m".to_owned(),
            sender: "s".to_owned(),
            recipient: "r".to_owned(),
            seq: 1,
            form: Form::Direct,
            thread_id: "t".to_owned(),
            due,
            told: None,
        };
        assert_eq!(entry.waited(), None);
        let told_at = ledger.at(load_began + Duration::from_millis(1002));
        entry.told = Some((Told::Acknowledged(Stage::Stored), told_at));
        assert_eq!(entry.waited(), Some(Duration::from_millis(2)));
    }
}
