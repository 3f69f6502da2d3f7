//! A bounded map whose entries all live equally long.
//!
//! Because the lifetime is one constant, the order of insertion is the order of expiry: what has to go stands at the
//! front of a queue, and nothing is ever scanned.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::deadline::after;

#[derive(Debug)]
pub(crate) struct TtlMap<V> {
    ttl: Duration,
    max: usize,
    next: u64,
    entries: HashMap<Key, Entry<V>>,
    order: VecDeque<(Instant, u64, Key)>,
    evicted: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key(Arc<str>);

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[derive(Debug)]
struct Entry<V> {
    number: u64,
    value: V,
}

impl<V> TtlMap<V> {
    /// Holds at most `max` entries; beyond that the oldest go before their time, and are counted.
    pub(crate) fn new(ttl: Duration, max: usize) -> Self {
        Self { ttl, max, next: 0, entries: HashMap::new(), order: VecDeque::new(), evicted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries went before their time.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn get(&mut self, key: &str, now: Instant) -> Option<&mut V> {
        self.expire(now);
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Inserts or replaces; the entry's life starts now.
    pub(crate) fn insert(&mut self, key: &str, value: V, now: Instant) {
        self.expire(now);
        if self.ttl.is_zero() || self.max == 0 {
            return;
        }
        self.next += 1;
        let key = Key(key.into());
        self.entries.insert(key.clone(), Entry { number: self.next, value });
        self.order.push_back((after(now, self.ttl), self.next, key));
        while self.entries.len() > self.max {
            self.pop_front();
            self.evicted += 1;
        }
        // Removed and replaced entries leave their place in the queue behind; without this a key that is inserted
        // and removed for ever would make it grow until its entries expire.
        if self.order.len() > self.max.saturating_mul(2) {
            let entries = &self.entries;
            self.order.retain(|(_, number, key)| entries.get(key).is_some_and(|e| e.number == *number));
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        self.entries.remove(key).map(|entry| entry.value)
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(end, _, _)| *end <= now) {
            self.pop_front();
        }
    }

    /// Removes the oldest place in the queue, with its entry if that is still the one that made it.
    fn pop_front(&mut self) {
        if let Some((_, number, key)) = self.order.pop_front()
            && self.entries.get(&key).is_some_and(|entry| entry.number == number)
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn entries_may_live_for_ever() {
        let (mut map, start) = (TtlMap::new(Duration::MAX, 10), Instant::now());
        map.insert("a", 1, start);
        assert_eq!(map.get("a", start + TTL), Some(&mut 1));
    }

    #[test]
    fn entries_go_when_their_time_is_over() {
        let (mut map, start) = (TtlMap::new(TTL, 10), Instant::now());
        map.insert("a", 1, start);
        map.insert("b", 2, start + Duration::from_secs(5));
        assert_eq!(map.get("a", start + Duration::from_secs(9)), Some(&mut 1));
        assert_eq!(map.get("a", start + TTL), None);
        assert_eq!(map.get("b", start + TTL), Some(&mut 2));
        // A replaced entry lives from its replacement on.
        map.insert("b", 3, start + TTL);
        assert_eq!(map.get("b", start + Duration::from_secs(16)), Some(&mut 3));
    }

    #[test]
    fn the_oldest_go_at_the_limit() {
        let (mut map, now) = (TtlMap::new(TTL, 2), Instant::now());
        for (i, key) in ["a", "b", "c"].into_iter().enumerate() {
            map.insert(key, i, now);
        }
        assert_eq!((map.get("a", now).is_some(), map.len(), map.evicted()), (false, 2, 1));
        assert!(map.get("b", now).is_some());
    }

    #[test]
    fn inserting_and_removing_one_key_for_ever_stays_small() {
        let (mut map, now) = (TtlMap::new(TTL, 8), Instant::now());
        for _ in 0..10_000 {
            map.insert("a", (), now);
            map.remove("a");
        }
        assert!(map.order.len() <= 17, "{}", map.order.len());
    }

    proptest! {
        /// Against a plain model: same answers, whatever the order of calls.
        #[test]
        fn behaves_like_a_map_with_ages(ops in prop::collection::vec((0_u8..3, 0_u8..6, 0_u64..6), 1..200)) {
            let (start, mut now) = (Instant::now(), 0);
            let mut map = TtlMap::new(TTL, 100);
            let mut model: BTreeMap<u8, (u64, usize)> = BTreeMap::new();
            for (i, (op, key, step)) in ops.into_iter().enumerate() {
                now += step;
                let at = start + Duration::from_secs(now);
                model.retain(|_, (born, _)| now - *born < 10);
                let name = key.to_string();
                match op {
                    0 => {
                        map.insert(&name, i, at);
                        model.insert(key, (now, i));
                    }
                    1 => {
                        map.get(&name, at);
                        prop_assert_eq!(map.remove(&name), model.remove(&key).map(|(_, v)| v));
                    }
                    _ => prop_assert_eq!(map.get(&name, at).copied(), model.get(&key).map(|(_, v)| *v)),
                }
            }
        }
    }
}
