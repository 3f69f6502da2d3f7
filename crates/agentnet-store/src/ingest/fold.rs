//! Deliveries of a batch, folded in memory: a message and its receipts become one row.
//!
//! Receipts are ranked, and of two the higher rank decides, then the later time. That choice is commutative,
//! associative and idempotent, so replicas that meet messages and receipts in any order, in any batches, and more than
//! once, all end with the same row. The upsert in `write_deliveries.sql` makes the same choice between this row and the
//! stored one; a property test holds the two together.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use agentnet_proto::{ErrorCode, Timestamp};

use super::item::{Effect, MessageRow, ReceiptRow, Recipient};

/// How long live receipts have before the network delivers a message again: the receipt timeout of clients (1.5 s)
/// twice.
pub const RECEIPT_WAIT: Duration = Duration::from_secs(3);
/// How long an accepted delivery is its session's before another one may get it: a work timeout (30 s) in a queue
/// behind another.
pub const LEASE: Duration = Duration::from_secs(60);
/// Shortest and longest pause after a recipient held a message back; in between it is the message's age, so that it
/// doubles each time. The shortest where one holder of a capability refused for itself alone.
pub const HELD_BACK_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One row to write.
#[derive(Debug, Default)]
pub(super) struct Delivery<'a> {
    message: Option<(&'a MessageRow, &'a Recipient)>,
    /// The receipt that decides.
    decisive: Option<&'a ReceiptRow>,
    accepted_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

/// The columns of a row.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) state: &'static str,
    pub(super) message: Option<&'a MessageRow>,
    pub(super) receipt: Option<&'a ReceiptRow>,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) lease_until: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
}

/// The rows of a batch by key, so that all replicas write them in the same order.
#[derive(Debug, Default)]
pub(super) struct Deliveries<'a>(BTreeMap<(&'a str, &'a str), Delivery<'a>>);

impl<'a> Deliveries<'a> {
    /// Adds the deliveries of a message that was inserted, to these recipients.
    pub(super) fn message(&mut self, message: &'a MessageRow, recipients: &'a [Recipient]) {
        for recipient in recipients {
            let delivery = self.0.entry((&message.message_id, &recipient.name)).or_default();
            delivery.message = Some((message, recipient));
        }
    }

    /// Adds a receipt about the delivery to `recipient`.
    pub(super) fn receipt(&mut self, receipt: &'a ReceiptRow, recipient: &'a str) {
        if receipt.effect == Effect::None {
            return;
        }
        let delivery = match self.0.entry((&receipt.message_id, recipient)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Delivery::default()),
        };
        let at = receipt.received_at;
        // A recipient that is done at once says only that.
        if matches!(receipt.effect, Effect::Accepted | Effect::Duplicate | Effect::Processed) {
            delivery.accepted_at = earlier(delivery.accepted_at, at);
        }
        let (old, new) = (delivery.decisive.map(|r| r.effect), receipt.effect);
        if new.is_final() {
            delivery.finished_at = match old {
                Some(old) if old == new => earlier(delivery.finished_at, at),
                Some(old) if old.rank() > new.rank() => delivery.finished_at,
                _ => Some(at),
            };
        }
        if delivery.decisive.is_none_or(|old| order(old) < order(receipt)) {
            delivery.decisive = Some(receipt);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Key and columns of every row, in key order.
    pub(super) fn rows(&self) -> impl Iterator<Item = ((&'a str, &'a str), Columns<'a>)> + '_ {
        self.0.iter().filter_map(|(key, delivery)| Some((*key, delivery.columns()?)))
    }
}

impl<'a> Delivery<'a> {
    fn columns(&self) -> Option<Columns<'a>> {
        let message = self.message.map(|(message, _)| message);
        let receipt = self.decisive;
        let created_at = message.map(|m| m.received_at).or_else(|| receipt.map(|r| r.received_at))?;
        let effect = receipt.map_or(Effect::None, |r| r.effect);
        let lease_until = (effect == Effect::Accepted || effect == Effect::Duplicate)
            .then(|| receipt.map(|r| r.received_at.saturating_add(LEASE)))
            .flatten();
        let redeliver = self.message.is_some_and(|(_, recipient)| recipient.redeliver);
        let next_attempt_at = match effect {
            _ if !redeliver => None,
            Effect::None => Some(created_at.saturating_add(RECEIPT_WAIT)),
            Effect::HeldBack => receipt.map(|r| r.received_at.saturating_add(pause(created_at, r))),
            Effect::Accepted | Effect::Duplicate => lease_until,
            Effect::Rejected | Effect::Processed => None,
        };
        Some(Columns {
            state: effect.state(),
            message,
            receipt,
            next_attempt_at,
            lease_until,
            created_at,
            accepted_at: self.accepted_at,
            finished_at: if effect.is_final() { self.finished_at } else { None },
        })
    }
}

impl Effect {
    /// Which of two receipts decides; the SQL ranks stored rows alike.
    const fn rank(self) -> u8 {
        match self {
            Self::None | Self::HeldBack => 0,
            Self::Duplicate => 1,
            Self::Accepted => 2,
            Self::Rejected => 3,
            Self::Processed => 4,
        }
    }

    const fn is_final(self) -> bool {
        matches!(self, Self::Rejected | Self::Processed)
    }

    const fn state(self) -> &'static str {
        match self {
            Self::None | Self::HeldBack => "pending",
            Self::Duplicate | Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Processed => "processed",
        }
    }
}

fn order(receipt: &ReceiptRow) -> (u8, Timestamp) {
    (receipt.effect.rank(), receipt.received_at)
}

fn earlier(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(at, |known| known.min(at)))
}

fn pause(created_at: Timestamp, receipt: &ReceiptRow) -> Duration {
    // It goes to somebody else next, who has kept nobody waiting.
    if receipt.code.as_deref().and_then(ErrorCode::parse).is_some_and(ErrorCode::is_one_holders_refusal) {
        return HELD_BACK_PAUSE.0;
    }
    let age = (receipt.received_at.to_offset() - created_at.to_offset()).whole_microseconds();
    let age = u64::try_from(age).unwrap_or(0);
    Duration::from_micros(age).clamp(HELD_BACK_PAUSE.0, HELD_BACK_PAUSE.1)
}
