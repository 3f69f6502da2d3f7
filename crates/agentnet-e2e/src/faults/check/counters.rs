//! The counters of threads, against their messages counted one by one.

use std::collections::{BTreeSet, HashMap};

use agentnet_proto::{Envelope, envelope::kind, pyjson};

use super::{Database, Finding, database::Message};

/// `TOKEN_ESTIMATE_CHARS_PER_TOKEN`, which runs leave at its default.
const CHARS_PER_TOKEN: i64 = 4;

#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    messages: i64,
    bytes: i64,
    tokens: i64,
    pending: i64,
    participants: BTreeSet<String>,
}

impl Sum {
    fn add(&mut self, message: &Message) {
        let bytes = payload_bytes(&message.envelope);
        self.messages += 1;
        self.bytes += bytes;
        self.tokens += (bytes + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN;
        self.pending += i64::from(message.kind != kind::SYSTEM);
        self.participants.extend(message.accounts.iter().flatten().cloned());
    }
}

pub(super) fn judge(database: &Database, miscounted: &mut Finding) {
    let mut sums: HashMap<&str, Sum> = HashMap::new();
    for message in database.messages.values() {
        sums.entry(&message.thread_id).or_default().add(message);
    }
    for thread in &database.threads {
        let counted = Sum {
            messages: thread.message_count,
            bytes: thread.byte_count,
            tokens: thread.approx_tokens,
            pending: thread.pending_raw_messages,
            participants: serde_json::from_value(thread.participants.clone()).unwrap_or_default(),
        };
        let real = sums.remove(thread.thread_id.as_str()).unwrap_or_default();
        if counted != real {
            miscounted.add(|| {
                format!("{}: its record says {counted:?}, its messages are {real:?}", thread.thread_id)
            });
        }
    }
    for (thread, sum) in sums {
        miscounted.add(|| format!("{thread} has {} messages and no record", sum.messages));
    }
}

/// Bytes as the original counts them: those of Python's `json.dumps`.
fn payload_bytes(envelope: &[u8]) -> i64 {
    let payload =
        Envelope::decode(envelope).ok().and_then(|envelope| pyjson::parse(envelope.payload.get()).ok());
    payload.and_then(|payload| i64::try_from(payload.python_len()).ok()).unwrap_or(-1)
}
