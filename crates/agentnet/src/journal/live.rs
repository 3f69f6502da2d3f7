//! What a journal means: its entries in the order they were put.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::format::record_len;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    /// When it was put, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

impl Entry {
    fn len(&self) -> u64 {
        record_len(self.key.len(), self.head.len(), self.body.len()) as u64
    }
}

/// How long entries are kept that nobody removes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keep {
    /// At most so many: beyond that the oldest go.
    pub(crate) entries: Option<usize>,
    /// At most so long.
    pub(crate) age: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Live {
    keep: Keep,
    by_key: HashMap<Arc<str>, u64>,
    in_order: BTreeMap<u64, Entry>,
    next: u64,
    bytes: u64,
}

impl Live {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, by_key: HashMap::new(), in_order: BTreeMap::new(), next: 0, bytes: 0 }
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.remove(&entry.key);
        let now = entry.at_ms;
        self.next += 1;
        self.bytes += entry.len();
        self.by_key.insert(Arc::clone(&entry.key), self.next);
        self.in_order.insert(self.next, entry);
        self.forget_old(now);
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        let entry = self.by_key.remove(key).and_then(|place| self.in_order.remove(&place));
        self.bytes -= entry.as_ref().map_or(0, Entry::len);
        entry.is_some()
    }

    /// Drops what has been kept long enough at `now_ms`.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        let age = self.keep.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        while let Some((_, oldest)) = self.in_order.first_key_value() {
            let too_many = self.keep.entries.is_some_and(|most| self.in_order.len() > most);
            let too_old = age.is_some_and(|age| oldest.at_ms.saturating_add(age) <= now_ms);
            if !too_many && !too_old {
                return;
            }
            let key = Arc::clone(&oldest.key);
            self.remove(&key);
        }
    }

    /// In the order they were put.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.in_order.values()
    }

    /// What their records take in a file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, at_ms: u64) -> Entry {
        Entry { key: key.into(), at_ms, head: Bytes::new(), body: Bytes::from_static(b"12345") }
    }

    fn keys(live: &Live) -> Vec<&str> {
        live.entries().map(|entry| &*entry.key).collect()
    }

    #[test]
    fn a_later_put_replaces_and_moves_to_the_end() {
        let mut live = Live::new(Keep::default());
        for (key, at) in [("a", 1), ("b", 2), ("a", 3)] {
            live.put(entry(key, at));
        }
        assert_eq!(keys(&live), ["b", "a"]);
        assert_eq!(live.bytes(), 2 * entry("a", 1).len());
        assert!(live.remove("b") && !live.remove("b"));
        live.remove("a");
        assert_eq!((keys(&live).len(), live.bytes()), (0, 0));
    }

    #[test]
    fn the_oldest_go_by_count_and_by_age() {
        let mut live = Live::new(Keep { entries: Some(2), age: Some(Duration::from_millis(10)) });
        for (key, at) in [("a", 1), ("b", 2), ("c", 3)] {
            live.put(entry(key, at));
        }
        assert_eq!(keys(&live), ["b", "c"]);
        live.put(entry("d", 12));
        assert_eq!(keys(&live), ["c", "d"]);
        live.forget_old(13);
        assert_eq!(keys(&live), ["d"]);
    }
}
