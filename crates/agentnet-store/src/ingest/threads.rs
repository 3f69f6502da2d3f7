//! What a batch adds to each thread's counters.

use std::collections::BTreeMap;

use agentnet_proto::{Timestamp, envelope::CLOCK_TOLERANCE};

use super::item::MessageRow;
use crate::{
    access::{MAX_ADDRESSED_BY_ONE, addressed},
    threads::{MAX_PARTICIPANTS, is_participant},
};

/// What one thread gains.
#[derive(Debug)]
pub(super) struct ThreadDelta<'a> {
    pub(super) created_by: Option<&'a str>,
    pub(super) participants: Vec<&'a str>,
    /// As in `agent_threads.addressed`.
    pub(super) addressed: Vec<String>,
    pub(super) received_at: (Timestamp, Timestamp),
    pub(super) messages: i64,
    pub(super) bytes: i64,
    pub(super) tokens: i64,
    pub(super) pending: i64,
    pub(super) checkpoint_end: Option<i64>,
    pub(super) oldest_sent_at: Timestamp,
    pub(super) last_message_at: Timestamp,
    pub(super) last_is_checkpoint: bool,
}

/// The threads of the messages that were inserted, in key order. Give the messages in the order they came.
pub(super) fn deltas<'a>(
    inserted: impl Iterator<Item = &'a MessageRow>,
) -> BTreeMap<&'a str, ThreadDelta<'a>> {
    let mut threads: BTreeMap<&str, ThreadDelta<'_>> = BTreeMap::new();
    for message in inserted {
        let at = activity(message);
        let thread = threads.entry(&message.thread_id).or_insert_with(|| ThreadDelta {
            created_by: message.from_account_id.as_deref(),
            participants: Vec::new(),
            addressed: Vec::new(),
            received_at: (message.received_at, message.received_at),
            messages: 0,
            bytes: 0,
            tokens: 0,
            pending: 0,
            checkpoint_end: None,
            oldest_sent_at: message.sent_at,
            last_message_at: Timestamp::MIN,
            last_is_checkpoint: false,
        });
        for account in [&message.from_account_id, &message.to_account_id].into_iter().flatten() {
            if thread.participants.len() < MAX_PARTICIPANTS
                && is_participant(account)
                && !thread.participants.contains(&account.as_str())
            {
                thread.participants.push(account);
            }
        }
        if let (Some(from), Some(to)) = (&message.from_account_id, &message.to_account_id)
            && let Some(entry) = addressed(from, to, message.is_answer())
            && thread.addressed.len() < MAX_ADDRESSED_BY_ONE
            && !thread.addressed.contains(&entry)
        {
            thread.addressed.push(entry);
        }
        thread.received_at.0 = thread.received_at.0.min(message.received_at);
        thread.received_at.1 = thread.received_at.1.max(message.received_at);
        thread.oldest_sent_at = thread.oldest_sent_at.min(message.sent_at);
        thread.messages += 1;
        thread.bytes = thread.bytes.saturating_add(message.payload_bytes);
        thread.tokens = thread.tokens.saturating_add(message.tokens);
        thread.pending += i64::from(!message.is_system());
        thread.checkpoint_end = thread.checkpoint_end.max(message.checkpoint_end);
        if at >= thread.last_message_at {
            thread.last_message_at = at;
            thread.last_is_checkpoint = message.checkpoint_end.is_some();
        }
    }
    threads
}

/// When the message counts as activity of its thread: when it was sent, but not later than the network's clock allows,
/// or a wrong year would keep the thread on top of every list and out of retention's reach.
fn activity(message: &MessageRow) -> Timestamp {
    if message.sent_at > message.received_at.saturating_add(CLOCK_TOLERANCE) {
        message.received_at
    } else {
        message.sent_at
    }
}
