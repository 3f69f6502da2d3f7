//! Per-sender order, for what was never redelivered.

use std::collections::HashMap;

use super::{Evidence, Finding};
use crate::faults::{
    journal::Row,
    ledger::{Entry, Form},
};

pub(super) fn judge(evidence: &Evidence<'_>, disordered: &mut Finding) {
    let sent: HashMap<&str, &Entry> = evidence.sent.iter().map(|e| (e.message_id.as_str(), e)).collect();
    let in_order = |row: &&Row| {
        let direct = sent.get(row.message_id.as_str()).is_some_and(|entry| entry.form == Form::Direct);
        let calls = evidence.deeds.calls.get(&row.message_id).map_or(0, Vec::len);
        // A second call means that the first try failed somewhere, and a later attempt that the network tried again.
        direct && calls == 1 && !row.redelivered
    };
    for (journal, rows) in &evidence.deeds.in_order {
        if !evidence.single_sessions.contains(journal) {
            continue;
        }
        let mut last: HashMap<&str, &Row> = HashMap::new();
        for row in rows.iter().filter(in_order) {
            if let Some(before) = last.insert(&row.sender, row)
                && before.seq >= row.seq
            {
                disordered.add(|| {
                    format!(
                        "{journal} handled #{} of {} after #{} ({})",
                        row.seq, row.sender, before.seq, row.message_id
                    )
                });
            }
        }
    }
}
