//! Who is online, in memory. Every replica hears every hello, so each has the whole picture and answers from it.
//!
//! Ages are measured by this machine's monotonic clock, never by comparing wall clocks of two machines. A session is
//! declared dead only one full TTL after this replica started or came back to NATS: what it didn't hear before then
//! may have been said.

mod entry;
mod list;
mod route;
mod table;
#[cfg(test)]
mod tests;
mod wakes;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::AgentInfo;
use agentnet_proto::task::TaskOffer;
use agentnet_store::sessions::Session;
use moka::sync::Cache;
use tokio::sync::Notify;

use entry::Dirty;
pub(crate) use entry::TAKES_MAIL;
pub use entry::{Opened, WorkerInfo};
pub(crate) use list::decode_cursor;
pub use list::{ListPage, ListQuery, Liveness};
pub use route::{Owner, Route};
use table::Table;
pub use wakes::Wakes;

/// How long a session that said goodbye can't be brought back by a hello that was overtaken.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(30);
/// How long it is remembered that a session ended: longer than what it had accepted may stay with it.
const GONE_LIFE: Duration = Duration::from_secs(600);
const MAX_TOMBSTONES: u64 = 50_000;
/// Most encoded descriptions in memory. 100,000 agents with 2.5 KB each.
const MAX_BYTES: usize = 256 << 20;

/// What a hello did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Known and unchanged.
    Touched,
    /// Known, and its description changed.
    Changed,
    /// Unknown: restored under its tag.
    Restored,
    /// Unknown, and its account isn't in the hello: the caller has to find it.
    NeedsAccount,
    /// Not taken: it has just said goodbye, or there are too many sessions.
    Refused,
}

/// Presence writes that wait for the next flush.
#[derive(Debug, Default)]
pub struct Pending {
    /// Sessions whose row has to be written.
    pub changed: Vec<Session>,
    /// Sessions only heard of, with the time since.
    pub touched: Vec<(String, Duration)>,
    /// Sessions that said goodbye.
    pub ended: Vec<String>,
}

/// Limits and times.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A session not heard of for so long is gone.
    pub ttl: Duration,
    /// A session not heard of for so long is late.
    pub late_after: Duration,
    /// Most sessions.
    pub max_sessions: usize,
}

/// The sessions online.
#[derive(Debug)]
pub struct Presence {
    started: Instant,
    rules: Rules,
    table: RwLock<Table>,
    tombstones: Cache<Box<str>, ()>,
    /// Sessions that are known to have ended, by their own word or by a replica's judgement.
    gone: Cache<Box<str>, ()>,
    /// Rung when somebody came or went whom deliveries may wait for.
    pub woken: Notify,
    /// Rung when somebody came or changed who takes tasks.
    pub workers: Notify,
    /// Rung when something waits that shouldn't wait for the next regular flush.
    pub urgent: Notify,
}

impl Presence {
    /// Nobody online yet.
    pub fn new(rules: Rules) -> Self {
        let mut table = Table::new(rules.max_sessions, MAX_BYTES);
        table.heartbeat = millis(rules.late_after) / 2;
        Self {
            started: Instant::now(),
            rules,
            table: RwLock::new(table),
            tombstones: Cache::builder().max_capacity(MAX_TOMBSTONES).time_to_live(TOMBSTONE_LIFE).build(),
            gone: Cache::builder().max_capacity(MAX_TOMBSTONES).time_to_live(GONE_LIFE).build(),
            woken: Notify::new(),
            workers: Notify::new(),
            urgent: Notify::new(),
        }
    }

    fn now(&self) -> i64 {
        millis(self.started.elapsed())
    }

    fn read<T>(&self, f: impl FnOnce(&Table) -> T) -> T {
        f(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        f(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether another session fits.
    pub fn has_room(&self) -> bool {
        self.read(Table::has_room)
    }

    /// How many sessions are in memory.
    pub fn len(&self) -> usize {
        self.read(Table::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a session that was just opened, here or on another replica. Its row is written already.
    pub fn open(&self, info: &AgentInfo, opened: &Opened) -> bool {
        let Some(tag) = info.session_tag.as_deref() else { return false };
        if self.tombstones.contains_key(tag) {
            return false;
        }
        let now = self.now();
        let added = self.write(|table| table.open(info, opened, now));
        if added && TaskOffer::of_metadata(&info.metadata).is_some() {
            self.workers.notify_one();
        }
        added
    }

    /// What accounts online offer to those who submit tasks, of each every session that offers something.
    pub fn offers(&self) -> HashMap<String, Vec<Arc<WorkerInfo>>> {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| {
            let mut offers: HashMap<String, Vec<Arc<WorkerInfo>>> = HashMap::new();
            for entry in table.sessions.values() {
                let (Some(account), Some(worker)) = (&entry.account_id, &entry.worker) else { continue };
                if entry.speaks_1_2 && table.is_visible(entry, now, ttl) {
                    offers.entry(account.to_string()).or_default().push(worker.clone());
                }
            }
            offers
        })
    }

    /// Adds what Postgres knows at start. Those not heard of for longer than the TTL are kept, so that they are
    /// not declared dead too soon, but not shown.
    pub fn load(&self, sessions: &[Session], at: Timestamp) {
        let now = self.now();
        let ttl = millis(self.rules.ttl);
        self.write(|table| {
            for session in sessions {
                table.load(session, now, ttl, at);
            }
        });
    }

    /// A hello, heard by the replica `server_id` at `at`.
    pub fn hello(&self, info: AgentInfo, at: Timestamp, server_id: &str) -> Heard {
        let Some(tag) = info.session_tag.clone() else { return Heard::Refused };
        if self.tombstones.contains_key(tag.as_str()) {
            return Heard::Refused;
        }
        let now = self.now();
        let takes_tasks = TaskOffer::of_metadata(&info.metadata).is_some();
        let (heard, news) =
            self.write(|table| (table.hello(&tag, info, at, server_id, now), !table.wakes.is_empty()));
        if news {
            self.woken.notify_one();
        }
        if takes_tasks && (news || heard != Heard::Touched) {
            self.workers.notify_one();
        }
        if heard == Heard::Restored {
            self.urgent.notify_one();
        }
        heard
    }

    /// Whose session it is, and whether it speaks 1.2; `None` for a session that isn't in memory.
    pub fn whose(&self, tag: &str) -> Option<(Option<String>, bool)> {
        self.read(|table| table.whose(tag))
    }

    /// A goodbye. The row is ended by the next flush, whether the session was known or not.
    pub fn goodbye(&self, tag: &str) {
        self.tombstones.insert(tag.into(), ());
        self.write(|table| {
            table.remove(tag);
            table.note_end(tag);
        });
        self.is_over(tag);
        self.urgent.notify_one();
    }

    /// Every session of the account ends: it is locked out.
    pub fn end_account(&self, account_id: &str) {
        let now = self.now();
        // Silent ones too: they may speak again.
        let tags = self.read(|table| {
            let found = table.of_account(account_id, now, i64::MAX);
            found.into_iter().map(|((_, tag), _)| tag.to_string()).collect::<Vec<String>>()
        });
        tags.iter().for_each(|tag| self.goodbye(tag));
    }

    /// Another replica ended the session.
    pub fn ended_elsewhere(&self, tag: &str, for_good: bool) {
        if for_good {
            self.tombstones.insert(tag.into(), ());
        }
        self.write(|table| table.remove(tag));
        self.is_over(tag);
    }

    /// The row of a session that isn't in memory was ended for its silence.
    pub fn ended_by_row(&self, tag: &str, account_id: Option<&str>) {
        if self.read(|table| table.knows(tag)) {
            return;
        }
        let recipients = account_id.map(str::to_owned).into_iter().collect();
        self.write(|table| table.wakes.went(tag, recipients));
        self.is_over(tag);
    }

    fn is_over(&self, tag: &str) {
        self.gone.insert(tag.into(), ());
        self.woken.notify_one();
    }

    /// Has deliveries to these recipients looked at.
    pub fn wake(&self, recipients: impl IntoIterator<Item = String>) {
        self.write(|table| table.wakes.came(recipients));
        self.woken.notify_one();
    }

    /// Takes the news for redelivery.
    pub fn take_wakes(&self) -> Wakes {
        self.write(|table| std::mem::take(&mut table.wakes))
    }

    /// Where deliveries to a recipient can go now.
    pub fn route(&self, recipient: &str) -> Route {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| table.route(recipient, now, ttl))
    }

    /// Whether a session that accepted something is still at it.
    pub fn owner(&self, tag: &str) -> Owner {
        if self.read(|table| table.knows(tag)) {
            Owner::Alive
        } else if self.gone.contains_key(tag) || self.may_judge() {
            Owner::Gone
        } else {
            Owner::Unknown
        }
    }

    /// How many sessions of an account are online, and when it was last heard of.
    pub fn account(&self, account_id: &str) -> (usize, Option<Timestamp>) {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| {
            let sessions = table.of_account(account_id, now, ttl);
            (sessions.len(), sessions.first().map(|(_, entry)| entry.last_seen))
        })
    }

    /// Accounts and capabilities of everybody online, and for how long in seconds.
    pub fn online(&self, at: Timestamp) -> Vec<(String, f64)> {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| table.online(now, ttl, at))
    }

    /// The connection to NATS is lost: time stands still for everybody.
    pub fn freeze(&self) {
        let now = self.now();
        self.write(|table| table.freeze(now));
    }

    /// The connection is back: everybody gets a full TTL to be heard.
    pub fn thaw(&self) {
        let now = self.now();
        self.write(|table| table.thaw(now));
    }

    /// Whether a full TTL has passed since the start or the last reconnection, so that silence means something.
    pub fn may_judge(&self) -> bool {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| table.may_judge(now, ttl))
    }

    /// Removes sessions that have been silent for longer than the TTL; returns how many.
    pub fn evict(&self) -> usize {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        let evicted = self.write(|table| table.evict(now, ttl));
        // What isn't in memory after a whole TTL is gone, so that nobody has to remember which these were.
        if evicted > 0 {
            self.woken.notify_one();
        }
        evicted
    }

    /// One page of `registry.list`, encoded.
    pub fn list(&self, query: &ListQuery<'_>) -> ListPage {
        let now = self.now();
        self.read(|table| list::page(table, query, now, &self.rules))
    }

    /// Appends the sessions of an account as profiles show them, separated by commas, newest `last_seen` first: at
    /// most `limit`, and what fits into `max_bytes`. Returns how many.
    pub fn write_sessions(
        &self,
        account_id: &str,
        limit: usize,
        max_bytes: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let (now, ttl) = (self.now(), millis(self.rules.ttl));
        self.read(|table| {
            let end = out.len() + max_bytes;
            let mut count = 0;
            for (key, entry) in table.of_account(account_id, now, ttl).into_iter().take(limit) {
                let before = out.len();
                if count > 0 {
                    out.push(b',');
                }
                entry.write_profile_json(key, out);
                if out.len() > end {
                    out.truncate(before);
                    break;
                }
                count += 1;
            }
            count
        })
    }

    /// Takes what waits for Postgres, at most `limit` of each kind.
    pub fn take_pending(&self, limit: usize) -> Pending {
        let now = self.now();
        self.write(|table| table.take_pending(now, limit))
    }

    /// Has the rows of these sessions written again, if they are still here.
    pub fn rewrite(&self, tags: &[String]) {
        self.write(|table| tags.iter().for_each(|tag| table.mark(tag, Dirty::Changed)));
    }

    /// Puts back what couldn't be written.
    pub fn put_back(&self, pending: &Pending) {
        self.write(|table| table.put_back(pending));
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
