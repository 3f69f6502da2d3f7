//! The sessions and their indexes. Plain data: the clock is a number that callers pass in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::AgentInfo;
use agentnet_store::sessions::Session;

use super::entry::{Dirty, Entry, Opened, info_of_row};
use super::wakes::Wakes;
use super::{Heard, Pending};

/// (agent_id, session_tag): the order of `registry.list`.
pub(super) type Key = (Arc<str>, Arc<str>);

#[derive(Debug)]
pub(super) struct Table {
    pub(super) sessions: BTreeMap<Key, Entry>,
    keys: HashMap<Arc<str>, Key>,
    accounts: HashMap<Box<str>, Vec<Key>>,
    /// Keys with something to write, each once.
    dirty: Vec<Key>,
    ended: HashSet<Box<str>>,
    /// From here on silence counts.
    floor: i64,
    /// When the connection was lost.
    frozen: Option<i64>,
    bytes: usize,
    max_sessions: usize,
    max_bytes: usize,
    /// How often sessions say hello, in milliseconds.
    pub(super) heartbeat: i64,
    pub(super) wakes: Wakes,
}

impl Table {
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            keys: HashMap::new(),
            accounts: HashMap::new(),
            dirty: Vec::new(),
            ended: HashSet::new(),
            floor: 0,
            frozen: None,
            bytes: 0,
            max_sessions,
            max_bytes,
            heartbeat: 12_000,
            wakes: Wakes::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn knows(&self, tag: &str) -> bool {
        self.keys.contains_key(tag)
    }

    pub(super) fn whose(&self, tag: &str) -> Option<(Option<String>, bool)> {
        let entry = self.sessions.get(self.keys.get(tag)?)?;
        Some((entry.account_id.as_deref().map(str::to_owned), entry.speaks_1_2))
    }

    pub(super) fn has_room(&self) -> bool {
        self.sessions.len() < self.max_sessions && self.bytes < self.max_bytes
    }

    pub(super) fn open(&mut self, info: &AgentInfo, opened: &Opened, now: i64) -> bool {
        let Some(tag) = info.session_tag.as_deref() else { return false };
        if let Some(key) = self.keys.get(tag).cloned() {
            // A hello was faster than the news of the opening: only where and when was missing.
            if let Some(entry) = self.sessions.get_mut(&key) {
                entry.opened = opened.clone();
            }
            return true;
        }
        self.insert(tag, info, Entry::new(info, opened.clone(), opened.at, now))
    }

    pub(super) fn load(&mut self, row: &Session, now: i64, ttl: i64, at: Timestamp) {
        if self.keys.contains_key(row.session_tag.as_str()) {
            return;
        }
        let age = super::millis(row.age);
        let opened = Opened { server_id: row.server_id.as_str().into(), at: row.connected_at };
        let info = info_of_row(row);
        let mut entry = Entry::new(&info, opened, at.saturating_sub(row.age), now.saturating_sub(age));
        entry.shown = age < ttl;
        self.insert(&row.session_tag, &info, entry);
    }

    pub(super) fn hello(
        &mut self,
        tag: &str,
        mut info: AgentInfo,
        at: Timestamp,
        server_id: &str,
        now: i64,
    ) -> Heard {
        let Some(key) = self.keys.get(tag).cloned() else {
            if info.account_id.is_none() || info.username.is_none() {
                return Heard::NeedsAccount;
            }
            if info.name.is_empty() {
                info.name.clone_from(&info.agent_id);
            }
            let opened = Opened { server_id: server_id.into(), at };
            let mut entry = Entry::new(&info, opened, at, now);
            entry.dirty = Dirty::Changed;
            entry.greeted = true;
            let came: Vec<String> = entry.recipients().collect();
            let Some(key) = self.insert_new(tag, &info, entry) else { return Heard::Refused };
            self.dirty.push(key);
            self.wakes.came(came);
            return Heard::Restored;
        };
        let Some(entry) = self.sessions.get_mut(&key) else { return Heard::Refused };
        // The session keeps the agent_id it was opened with.
        key.0.as_ref().clone_into(&mut info.agent_id);
        let (account_before, bytes_before) = (entry.account_id.clone(), entry.bytes());
        let capabilities_before = entry.capabilities.clone();
        let changed = entry.describe(info);
        // Out of time, it says that the session has just come back: from a lost connection, or from a pause.
        let since = now.saturating_sub(entry.heard);
        let regular = (self.heartbeat * 3 / 4..=self.heartbeat * 3 / 2).contains(&since);
        let came_back = !mem::replace(&mut entry.greeted, true) || !regular;
        if came_back || entry.account_id != account_before || entry.capabilities != capabilities_before {
            self.wakes.came(entry.recipients());
        }
        let dirty = if changed { Dirty::Changed } else { Dirty::Touched };
        if entry.dirty == Dirty::No {
            self.dirty.push(key.clone());
        }
        entry.dirty = entry.dirty.max(dirty);
        entry.heard = now;
        entry.last_seen = at;
        entry.shown = true;
        if !changed {
            return Heard::Touched;
        }
        self.bytes = (self.bytes + entry.bytes()).saturating_sub(bytes_before);
        let account_now = entry.account_id.clone();
        if account_now != account_before {
            self.leave_account(account_before.as_deref(), &key);
            self.join_account(account_now, key);
        }
        Heard::Changed
    }

    fn insert(&mut self, tag: &str, info: &AgentInfo, entry: Entry) -> bool {
        self.insert_new(tag, info, entry).is_some()
    }

    fn insert_new(&mut self, tag: &str, info: &AgentInfo, entry: Entry) -> Option<Key> {
        if !self.has_room() {
            return None;
        }
        let key: Key = (info.agent_id.as_str().into(), tag.into());
        self.bytes += entry.bytes();
        self.join_account(entry.account_id.clone(), key.clone());
        self.keys.insert(key.1.clone(), key.clone());
        self.sessions.insert(key.clone(), entry);
        self.ended.remove(tag);
        Some(key)
    }

    fn join_account(&mut self, account: Option<Box<str>>, key: Key) {
        if let Some(account) = account {
            self.accounts.entry(account).or_default().push(key);
        }
    }

    fn leave_account(&mut self, account: Option<&str>, key: &Key) {
        let Some(account) = account else { return };
        if let Some(keys) = self.accounts.get_mut(account) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.accounts.remove(account);
            }
        }
    }

    pub(super) fn remove(&mut self, tag: &str) {
        let Some(key) = self.keys.remove(tag) else { return };
        if let Some(entry) = self.sessions.remove(&key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes());
            self.leave_account(entry.account_id.as_deref(), &key);
            self.wakes.went(tag, entry.recipients().collect());
        }
    }

    pub(super) fn note_end(&mut self, tag: &str) {
        // Beyond the limit the row is found by the sweep over stale rows instead.
        if self.ended.len() < self.max_sessions {
            self.ended.insert(tag.into());
        }
    }

    pub(super) fn freeze(&mut self, now: i64) {
        self.frozen.get_or_insert(now);
    }

    pub(super) fn thaw(&mut self, now: i64) {
        if self.frozen.take().is_some() {
            self.floor = now;
        }
    }

    pub(super) fn may_judge(&self, now: i64, ttl: i64) -> bool {
        self.frozen.is_none() && now.saturating_sub(self.floor) >= ttl
    }

    /// How long the session has been silent, as far as that can be known.
    pub(super) fn silence(&self, entry: &Entry, now: i64) -> i64 {
        let heard = if entry.shown { entry.heard.max(self.floor) } else { entry.heard };
        self.frozen.unwrap_or(now).saturating_sub(heard)
    }

    pub(super) fn is_visible(&self, entry: &Entry, now: i64, ttl: i64) -> bool {
        entry.shown && self.silence(entry, now) < ttl
    }

    pub(super) fn evict(&mut self, now: i64, ttl: i64) -> usize {
        if !self.may_judge(now, ttl) {
            return 0;
        }
        let gone: Vec<Arc<str>> = self
            .sessions
            .iter()
            .filter(|(_, entry)| now.saturating_sub(entry.heard.max(self.floor)) >= ttl)
            .map(|((_, tag), _)| tag.clone())
            .collect();
        for tag in &gone {
            self.remove(tag);
        }
        gone.len()
    }

    pub(super) fn keys_of_account(&self, account_id: &str) -> &[Key] {
        self.accounts.get(account_id).map_or(&[], Vec::as_slice)
    }

    /// The visible sessions of an account, newest `last_seen` first.
    pub(super) fn of_account(&self, account_id: &str, now: i64, ttl: i64) -> Vec<(&Key, &Entry)> {
        let mut entries: Vec<(&Key, &Entry)> = self
            .keys_of_account(account_id)
            .iter()
            .filter_map(|key| self.sessions.get(key).map(|entry| (key, entry)))
            .filter(|(_, entry)| self.is_visible(entry, now, ttl))
            .collect();
        entries.sort_unstable_by(|(a_key, a), (b_key, b)| {
            b.last_seen.cmp(&a.last_seen).then_with(|| a_key.1.cmp(&b_key.1))
        });
        entries
    }

    pub(super) fn take_pending(&mut self, now: i64, limit: usize) -> Pending {
        let mut pending = Pending::default();
        let take = self.dirty.len().min(limit);
        let keys: Vec<Key> = self.dirty.drain(..take).collect();
        for key in keys {
            // Gone since: its end is noted elsewhere.
            let Some(entry) = self.sessions.get_mut(&key) else { continue };
            match mem::replace(&mut entry.dirty, Dirty::No) {
                Dirty::Changed => pending.changed.push(entry.to_row(&key.1, now)),
                Dirty::Touched => pending.touched.push((key.1.to_string(), entry.age(now))),
                Dirty::No => {}
            }
        }
        let ended: Vec<Box<str>> = self.ended.iter().take(limit).cloned().collect();
        for tag in ended {
            self.ended.remove(&tag);
            pending.ended.push(tag.into_string());
        }
        pending
    }

    pub(super) fn put_back(&mut self, pending: &Pending) {
        for session in &pending.changed {
            self.mark(&session.session_tag, Dirty::Changed);
        }
        for (tag, _) in &pending.touched {
            self.mark(tag, Dirty::Touched);
        }
        for tag in &pending.ended {
            if !self.keys.contains_key(tag.as_str()) {
                self.note_end(tag);
            }
        }
    }

    pub(super) fn mark(&mut self, tag: &str, dirty: Dirty) {
        let Some(key) = self.keys.get(tag).cloned() else { return };
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        if entry.dirty == Dirty::No {
            self.dirty.push(key);
        }
        entry.dirty = entry.dirty.max(dirty);
    }
}
