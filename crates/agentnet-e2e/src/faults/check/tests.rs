//! The verdict itself: each kind of finding, out of evidence made by hand.

use std::time::Duration;

use super::{
    database::{Delivery, Message, Thread},
    *,
};

/// A run of three messages in which every promise held.
#[derive(Debug)]
struct Case {
    entries: Vec<Entry>,
    deeds: Deeds,
    database: Database,
    history: HashMap<String, Vec<String>>,
}

const IDS: [&str; 3] = ["m1", "m2", "m3"];

fn envelope(id: &str) -> Vec<u8> {
    format!(r#"{{"message_id":"{id}","to_agent":"acct_r","payload":{{"n":1}},"thread_id":"t"}}"#).into_bytes()
}

fn row(id: &str, seq: u64) -> Row {
    Row {
        what: What::Effect,
        message_id: id.to_owned(),
        sender: "s".to_owned(),
        seq,
        attempt: 1,
        redelivered: false,
        session: "r/1".to_owned(),
    }
}

impl Case {
    fn good() -> Self {
        let mut case = Self {
            entries: Vec::new(),
            deeds: Deeds::default(),
            database: Database::default(),
            history: HashMap::from([("t".to_owned(), IDS.iter().rev().map(ToString::to_string).collect())]),
        };
        for (id, seq) in IDS.into_iter().zip(1..) {
            case.entries.push(Entry {
                message_id: id.to_owned(),
                sender: "s".to_owned(),
                recipient: "r".to_owned(),
                seq,
                form: Form::Direct,
                thread_id: "t".to_owned(),
                due: Duration::ZERO,
                told: Some((Told::Acknowledged(Stage::Accepted), Duration::from_millis(2))),
            });
            case.act(id, seq);
            let accounts = [Some("acct_s".to_owned()), Some("acct_r".to_owned())];
            let (thread_id, kind) = ("t".to_owned(), "direct".to_owned());
            let message = Message { thread_id, parent: None, accounts, kind, envelope: envelope(id) };
            case.database.messages.insert(id.to_owned(), message);
            let (message_id, state) = (id.to_owned(), "processed".to_owned());
            case.database.deliveries.push(Delivery { message_id, state, attempts: 0 });
        }
        case.database.threads.push(Thread {
            thread_id: "t".to_owned(),
            message_count: 3,
            // {"n": 1}
            byte_count: 24,
            approx_tokens: 6,
            pending_raw_messages: 3,
            participants: serde_json::json!(["acct_r", "acct_s"]),
        });
        case
    }

    fn act(&mut self, id: &str, seq: u64) {
        let row = row(id, seq);
        self.deeds.calls.entry(id.to_owned()).or_default().push(Row { what: What::Call, ..row.clone() });
        self.deeds.effects.entry(id.to_owned()).or_default().push(("r".to_owned(), row.clone()));
        self.deeds.in_order.entry("r".to_owned()).or_default().push(row);
    }

    fn judge(&self) -> Verdict {
        judge(&Evidence {
            entries: &self.entries,
            sent: &self.entries,
            deeds: &self.deeds,
            database: &self.database,
            history: &self.history,
            poison: &HashSet::from([b"poison".to_vec()]),
            single_sessions: &HashSet::from(["r".to_owned()]),
        })
    }

    /// Names of the kinds that were found, with their counts.
    fn found(&self) -> Vec<(&'static str, u64)> {
        let verdict = self.judge();
        verdict.findings().iter().filter(|(_, f)| f.count > 0).map(|(name, f)| (*name, f.count)).collect()
    }
}

#[test]
fn a_good_run_has_no_findings() {
    let verdict = Case::good().judge();
    assert_eq!((verdict.acknowledged, verdict.handled, verdict.repeated_calls), (3, 3, 0));
    assert_eq!(Case::good().found(), []);
}

#[test]
fn losses() {
    let mut case = Case::good();
    case.deeds.effects.remove("m2");
    case.database.deliveries.remove(1);
    assert_eq!(case.found(), [("lost", 1)], "never handled");

    let mut case = Case::good();
    case.history.insert("t".to_owned(), vec!["m3".to_owned(), "m1".to_owned()]);
    assert_eq!(case.found(), [("lost", 1)], "not shown");

    let mut case = Case::good();
    case.database.messages.remove("m2");
    assert_eq!(case.found(), [("lost", 1), ("miscounted", 1)], "not stored");

    // Nothing was promised about it.
    let mut case = Case::good();
    case.entries[1].told = Some((Told::Failed("unconfirmed".to_owned()), Duration::ZERO));
    case.deeds.effects.remove("m2");
    case.database.deliveries.remove(1);
    assert_eq!(case.found(), []);
    assert_eq!(case.judge().failed["unconfirmed"], 1);
}

#[test]
fn duplicates() {
    let mut case = Case::good();
    case.act("m2", 2);
    assert_eq!(case.found(), [("duplicated", 1)], "by effect");
    assert_eq!(case.judge().repeated_calls, 1);

    let mut case = Case::good();
    case.history.get_mut("t").unwrap().push("m1".to_owned());
    assert_eq!(case.found(), [("duplicated", 1)], "shown twice");
}

#[test]
fn claims_of_stages_that_did_not_happen() {
    let mut case = Case::good();
    case.entries[0].told = Some((Told::Acknowledged(Stage::Processed), Duration::ZERO));
    assert_eq!(case.found(), []);
    case.deeds.effects.remove("m1");
    // The sender was told so, and the delivery record says so.
    assert_eq!(case.found(), [("lost", 1), ("untrue", 2)]);
}

#[test]
fn order_counts_only_without_redelivery() {
    let swapped = || {
        let mut case = Case::good();
        case.deeds.in_order.get_mut("r").unwrap().swap(0, 1);
        case
    };
    assert_eq!(swapped().found(), [("disordered", 1)]);
    let mut case = swapped();
    case.deeds.in_order.get_mut("r").unwrap()[1].redelivered = true;
    assert_eq!(case.found(), []);
    let mut case = swapped();
    case.entries[0].form = Form::Request;
    assert_eq!(case.found(), []);
}

#[test]
fn counters_and_records() {
    for spoil in [
        (|thread: &mut Thread| thread.message_count += 1) as fn(&mut Thread),
        |thread| thread.byte_count -= 1,
        |thread| thread.approx_tokens += 1,
        |thread| thread.pending_raw_messages = 0,
        |thread| thread.participants = serde_json::json!(["acct_s"]),
    ] {
        let mut case = Case::good();
        spoil(&mut case.database.threads[0]);
        assert_eq!(case.found(), [("miscounted", 1)]);
    }
    let mut case = Case::good();
    case.database.deliveries[2].state = "accepted".to_owned();
    assert_eq!(case.found(), [("unsettled", 1)]);
}

#[test]
fn strays() {
    let mut case = Case::good();
    case.database.quarantine = vec![b"poison".to_vec(), b"mail".to_vec()];
    assert_eq!(case.found(), [("stray", 1)], "only poison belongs into quarantine");

    let mut case = Case::good();
    case.entries[0].recipient = "other".to_owned();
    assert_eq!(case.found(), [("stray", 1)], "handled by the wrong recipient");

    let mut case = Case::good();
    case.entries.remove(2);
    assert_eq!(case.found(), [("stray", 2)], "handled and stored, and nobody sent it");
}
