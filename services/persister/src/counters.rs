//! Figures of a running persister, for its host and for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::progress::{Board, Seen};

/// Cheap handle of a running persister.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    cells: Arc<Cells>,
    pub(crate) board: Board,
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions committed.
    pub batches: u64,
    /// Messages stored for the first time.
    pub messages: u64,
    /// Copies of stored messages.
    pub repeated: u64,
    /// Other content under a known message_id.
    pub conflicts: u64,
    /// Messages that their senders may not post where they did.
    pub forbidden: u64,
    /// Receipts taken.
    pub receipts: u64,
    /// Items put into quarantine.
    pub quarantined: u64,
    /// Items given back to the stream because their message isn't known yet.
    pub postponed: u64,
    /// Replies between original SDKs that the tap could not pass on because the pipeline was full.
    pub tap_dropped: u64,
    /// Items whose sender wasn't proved.
    pub unproved: u64,
    /// Attempts to commit that failed.
    pub failures: u64,
    /// What the stream holds for us that was not delivered yet, as last seen.
    pub stream_pending: u64,
    /// Bytes in the stream, as last seen.
    pub stream_bytes: u64,
}

#[derive(Debug, Default)]
struct Cells([AtomicU64; 13]);

/// A figure that only grows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Batches,
    Messages,
    Repeated,
    Conflicts,
    Forbidden,
    Receipts,
    Quarantined,
    Postponed,
    TapDropped,
    Unproved,
    Failures,
}

impl Handle {
    /// What the last look at the stream's progress found.
    pub fn progress(&self) -> Option<Seen> {
        self.board.last().1
    }

    /// The figures now.
    pub fn counters(&self) -> Counters {
        let [
            batches,
            messages,
            repeated,
            conflicts,
            forbidden,
            receipts,
            quarantined,
            postponed,
            tap_dropped,
            unproved,
            failures,
            stream_pending,
            stream_bytes,
        ] = self.cells.0.each_ref().map(|cell| cell.load(Ordering::Relaxed));
        Counters {
            batches,
            messages,
            repeated,
            conflicts,
            forbidden,
            receipts,
            quarantined,
            postponed,
            tap_dropped,
            unproved,
            failures,
            stream_pending,
            stream_bytes,
        }
    }

    pub(crate) fn add(&self, count: Count, by: u64) {
        if by == 0 {
            return;
        }
        if let Some(cell) = self.cells.0.get(count as usize) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
        metrics::counter!("agentnet_persister_total", "what" => count.label()).increment(by);
    }

    pub(crate) fn set_stream(&self, pending: u64, bytes: u64) {
        for (cell, value) in self.cells.0.iter().skip(Count::Failures as usize + 1).zip([pending, bytes]) {
            cell.store(value, Ordering::Relaxed);
        }
        metrics::gauge!("agentnet_persister_stream_pending").set(pending as f64);
        metrics::gauge!("agentnet_persister_stream_bytes").set(bytes as f64);
    }
}

impl Count {
    const fn label(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Messages => "messages",
            Self::Repeated => "repeated",
            Self::Conflicts => "conflicts",
            Self::Forbidden => "forbidden",
            Self::Receipts => "receipts",
            Self::Quarantined => "quarantined",
            Self::Postponed => "postponed",
            Self::TapDropped => "tap_dropped",
            Self::Unproved => "unproved",
            Self::Failures => "failures",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_cell() {
        let handle = Handle::default();
        handle.add(Count::Batches, 1);
        handle.add(Count::Failures, 2);
        handle.set_stream(3, 4);
        let seen = handle.counters();
        assert_eq!((seen.batches, seen.failures, seen.stream_pending, seen.stream_bytes), (1, 2, 3, 4));
        assert_eq!(seen.messages + seen.tap_dropped, 0);
    }
}
