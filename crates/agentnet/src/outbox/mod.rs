//! What this node sent and the network hasn't confirmed yet.
//!
//! Every message stays here, as the exact bytes that were published, until `account.<me>.stored` names it or its time
//! to live is over; what somebody has seen is kept longer ([`LATE_MAX`]), so that history gets it. Bounded by count and
//! bytes; whoever sends into a full outbox waits or fails, nothing is dropped. After the confirmation an entry stays
//! only as long as somebody waits for a later stage. With a file ([`disk`]) all of this outlives the process.

mod disk;
mod track;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{FailedMessage, HandledMessage, Receipt};
use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::{Instant, timeout_at},
};

pub(crate) use disk::{Head, Left, open};
pub(crate) use track::{Goal, MemberProgress, Progress, Track, Verdict, is_one_holders, is_transient};

use crate::{
    deadline::{FAR, after},
    error::{Error, ErrorKind},
    journal::Journal,
    send::Refusal,
};

/// Longest pause between two copies of one message.
const RESEND_MAX: Duration = Duration::from_secs(5);
/// How long after its time to live a message that somebody has seen is still sent to the network, for the history:
/// as long as a recipient remembers it, so that nobody handles it again.
const LATE_MAX: Duration = Duration::from_secs(600);

/// What `send` does when the outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutboxPolicy {
    /// Waits for room, at most as long as the message would be waited for anyway.
    #[default]
    Wait,
    /// Fails with [`ErrorKind::OutboxFull`].
    Fail,
}

/// Room in the outbox, given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A message as it goes into the outbox.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Bytes,
    /// The signature header of every copy.
    pub(crate) signature: Option<Arc<str>>,
    /// How long to wait for a confirmation before sending another copy.
    pub(crate) pause: Duration,
    /// When its time to live is over.
    pub(crate) expires: Instant,
    /// Whether closing the node waits for it.
    pub(crate) must_confirm: bool,
    /// Whether somebody may have seen it without that being known here: a reply, or a message of an earlier process.
    pub(crate) seen: bool,
    /// Tells the same content under a caller's own id from other content; `None` for ids made here.
    pub(crate) content: Option<u64>,
    /// Given back with the entry.
    pub(crate) _room: Room,
}

#[derive(Debug)]
struct Pending {
    outgoing: Outgoing,
    due: (Instant, u64),
    copies: u32,
}

#[derive(Debug)]
struct Entry {
    track: Arc<Track>,
    watchers: u32,
    pending: Option<Pending>,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Arc<str>, Entry>,
    due: BTreeMap<(Instant, u64), Arc<str>>,
    next: u64,
    must_confirm: usize,
}

/// A copy to publish again.
#[derive(Debug)]
pub(crate) struct Resend {
    pub(crate) body: Bytes,
    pub(crate) signature: Option<Arc<str>>,
    pub(crate) track: Arc<Track>,
    /// Its time to live is over: it is stored for the history, and not delivered.
    pub(crate) late: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    book: Mutex<Book>,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_count: usize,
    max_bytes: usize,
    policy: OutboxPolicy,
    journal: Option<Journal>,
    drained: Notify,
    /// Wakes the maintenance task when it sleeps because there is nothing to send again.
    wake: Arc<Notify>,
    awake: AtomicBool,
}

impl Outbox {
    pub(crate) fn new(max_count: usize, max_bytes: usize, policy: OutboxPolicy, wake: Arc<Notify>) -> Self {
        let max_count = max_count.clamp(1, Semaphore::MAX_PERMITS);
        let max_bytes = max_bytes.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            book: Mutex::default(),
            count: Arc::new(Semaphore::new(max_count)),
            bytes: Arc::new(Semaphore::new(max_bytes)),
            max_count,
            max_bytes,
            policy,
            journal: None,
            drained: Notify::new(),
            wake,
            awake: AtomicBool::new(false),
        }
    }

    /// Keeps everything in this file, too. What an earlier process left there has room, even if that was larger.
    pub(crate) fn with_file(self, journal: Journal, left: &Left) -> Self {
        let (count, bytes) = left.load();
        let room = |max: usize, used: usize| max.max(used).min(Semaphore::MAX_PERMITS);
        let (max_count, max_bytes) = (room(self.max_count, count), room(self.max_bytes, bytes));
        Self { journal: Some(journal), ..Self::new(max_count, max_bytes, self.policy, self.wake) }
    }

    /// Takes room for a message of that size, waiting for it until `deadline` if that is the policy.
    pub(crate) async fn reserve(&self, size: usize, deadline: Instant) -> Result<Room, Error> {
        if size > self.max_bytes {
            let detail = format!(
                "a message of {size} bytes exceeds the outbox's {} bytes; make it larger",
                self.max_bytes
            );
            return Err(Error::new(ErrorKind::OutboxFull, detail));
        }
        match self.try_reserve(size) {
            Ok(room) => Ok(room),
            Err(TryAcquireError::NoPermits) if self.policy == OutboxPolicy::Wait => {
                let wait = async {
                    let count = Arc::clone(&self.count).acquire_owned().await?;
                    let bytes = Arc::clone(&self.bytes).acquire_many_owned(permits(size)).await?;
                    Ok::<_, tokio::sync::AcquireError>(Room { _count: count, _bytes: bytes })
                };
                match timeout_at(deadline, wait).await {
                    Ok(Ok(room)) => Ok(room),
                    Ok(Err(_)) => Err(Error::closed()),
                    Err(_) => Err(self.full()),
                }
            }
            Err(TryAcquireError::NoPermits) => Err(self.full()),
            Err(TryAcquireError::Closed) => Err(Error::closed()),
        }
    }

    /// Takes room if there is some now.
    pub(crate) fn try_reserve(&self, size: usize) -> Result<Room, TryAcquireError> {
        let count = Arc::clone(&self.count).try_acquire_owned()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(permits(size))?;
        Ok(Room { _count: count, _bytes: bytes })
    }

    fn full(&self) -> Error {
        let (count, bytes) = self.load();
        let detail = format!(
            "{count} messages ({bytes} bytes) wait for the network's confirmation; wait for them, check the persister, \
             or give the node a larger outbox"
        );
        Error::new(ErrorKind::OutboxFull, detail)
    }

    /// Keeps a message. Gives the track to follow: a new one, or that of the same message when the caller sends it
    /// again under its own id.
    pub(crate) fn insert(
        &self,
        id: &str,
        track: Track,
        outgoing: Outgoing,
        now: Instant,
    ) -> Result<(Arc<Track>, bool), Error> {
        let mut book = self.lock();
        if let Some(entry) = book.entries.get_mut(id) {
            let same = outgoing.content.is_some()
                && entry.pending.as_ref().is_some_and(|p| p.outgoing.content == outgoing.content);
            if !same {
                let detail = "another message is under way with this message_id; use a new id";
                return Err(Error::new(ErrorKind::InvalidArgument, detail).message(id));
            }
            entry.watchers += 1;
            return Ok((Arc::clone(&entry.track), false));
        }
        let track = Arc::new(track);
        let id: Arc<str> = id.into();
        book.next += 1;
        let due = (after(now, outgoing.pause), book.next);
        book.must_confirm += usize::from(outgoing.must_confirm);
        book.due.insert(due, Arc::clone(&id));
        let pending = Some(Pending { outgoing, due, copies: 1 });
        book.entries.insert(id, Entry { track: Arc::clone(&track), watchers: 1, pending });
        drop(book);
        // Once the maintenance task is awake it stays so until it finds nothing to do, so a busy sender doesn't wake
        // it for every message.
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        Ok((track, true))
    }

    /// Nobody waits for the message any more; it stays only until it is confirmed.
    pub(crate) fn unwatch(&self, id: &str) {
        let mut book = self.lock();
        if let Some(entry) = book.entries.get_mut(id) {
            entry.watchers = entry.watchers.saturating_sub(1);
            if entry.watchers == 0 && entry.pending.is_none() {
                book.entries.remove(id);
            }
        }
    }

    /// The caller was told that the message is unconfirmed: closing the node needn't wait for it.
    pub(crate) fn reported(&self, id: &str) {
        let mut book = self.lock();
        let Some(pending) = book.entries.get_mut(id).and_then(|e| e.pending.as_mut()) else { return };
        if std::mem::take(&mut pending.outgoing.must_confirm) {
            book.must_confirm -= 1;
            drop(book);
            self.drained.notify_waiters();
        }
    }

    /// The network stored these messages.
    pub(crate) fn stored<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        for id in ids {
            if let Some(track) = self.settle(id) {
                track.update(|p| p.stored = true);
            }
        }
    }

    /// The network refused a message, let it expire or gave it up.
    pub(crate) fn failed(&self, failed: &FailedMessage) {
        // One member's or holder's failure concerns its delivery; the message itself is stored.
        if failed.recipient.is_some() {
            let track = self.lock().entries.get(failed.message_id.as_str()).map(|e| Arc::clone(&e.track));
            if let Some(track) = track.filter(|t| !t.is_group()) {
                track.update(|p| p.failed = Some(Refusal::of(&failed.code, &failed.detail)));
            }
        } else if let Some(track) = self.settle(&failed.message_id) {
            track.update(|p| p.failed = Some(Refusal::of(&failed.code, &failed.detail)));
        }
    }

    /// A recipient took or finished a message over HTTP: the registry's word stands for its receipt.
    pub(crate) fn handled(&self, handled: &HandledMessage) {
        let receipt: Receipt<&str> = Receipt {
            message_id: &handled.message_id,
            status: handled.status.clone(),
            event_at: "",
            from_account_id: Some(&handled.recipient),
            from_session_tag: None,
            to_account_id: None,
            trace_id: None,
            thread_id: None,
            parent_message_id: None,
            code: None,
            detail: None,
            to_agent: None,
            body_sha256: None,
            schema_version: None,
        };
        if let Some(track) = self.wanting(&receipt) {
            track.receipt(&receipt);
        }
    }

    /// What is known of the message of a receipt, if somebody follows it and the receipt would say something new if it is
    /// genuine.
    pub(crate) fn wanting<S: AsRef<str>>(&self, receipt: &Receipt<S>) -> Option<Arc<Track>> {
        let track = self.lock().entries.get(receipt.message_id.as_ref()).map(|e| Arc::clone(&e.track));
        track.filter(|track| track.wants(receipt))
    }

    /// The message couldn't be published at all: it was never sent.
    pub(crate) fn discard(&self, id: &str) {
        self.settle(id);
    }

    /// Gives the message's room back; its track, if anybody might want it.
    fn settle(&self, id: &str) -> Option<Arc<Track>> {
        let mut book = self.lock();
        let entry = book.entries.get_mut(id)?;
        let track = Arc::clone(&entry.track);
        let unwatched = entry.watchers == 0;
        if let Some(pending) = entry.pending.take() {
            book.due.remove(&pending.due);
            if pending.outgoing.must_confirm {
                book.must_confirm -= 1;
                if book.must_confirm == 0 {
                    self.drained.notify_waiters();
                }
            }
        }
        let key = book.entries.get_key_value(id).map(|(key, _)| Arc::clone(key));
        if unwatched {
            book.entries.remove(id);
        }
        drop(book);
        if let Some(key) = key {
            self.forget(key);
        }
        Some(track)
    }

    /// Up to `limit` messages that are due for another copy, after dropping those whose time is over.
    pub(crate) fn due(&self, now: Instant, limit: usize) -> Vec<Resend> {
        let mut resends = Vec::new();
        let mut over = Vec::new();
        let mut book = self.lock();
        while resends.len() < limit
            && let Some((&key, _)) = book.due.first_key_value()
            && key.0 <= now
        {
            let Some(id) = book.due.remove(&key) else { break };
            book.next += 1;
            let number = book.next;
            let Some(entry) = book.entries.get_mut(&id) else { continue };
            let Some(pending) = entry.pending.as_mut() else { continue };
            let expires = pending.outgoing.expires;
            let late = expires <= now;
            if late && !(is_seen(pending, &entry.track) && now < expires + LATE_MAX) {
                over.push(Arc::clone(&id));
                continue;
            }
            let pause = resend_pause(pending.outgoing.pause, pending.copies);
            pending.copies = pending.copies.saturating_add(1);
            pending.due = (after(now, pause).min(if late { expires + LATE_MAX } else { expires }), number);
            resends.push(Resend {
                body: pending.outgoing.body.clone(),
                signature: pending.outgoing.signature.clone(),
                track: Arc::clone(&entry.track),
                late,
            });
            let due = pending.due;
            book.due.insert(due, id);
        }
        drop(book);
        for id in over {
            if let Some(track) = self.settle(&id) {
                track.update(|p| p.given_up = true);
            }
        }
        resends
    }

    /// After a reconnect: what was under way may be lost, so everything is due.
    pub(crate) fn all_due(&self, now: Instant) {
        let mut book = self.lock();
        let ids: Vec<_> = std::mem::take(&mut book.due).into_values().collect();
        for id in ids {
            book.next += 1;
            let due = (now, book.next);
            if let Some(pending) = book.entries.get_mut(&id).and_then(|e| e.pending.as_mut()) {
                pending.due = due;
                book.due.insert(due, id);
            }
        }
    }

    /// When the next message is due; the caller then may sleep until woken if there is none.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let book = self.lock();
        let next = book.due.first_key_value().map(|(key, _)| key.0);
        if next.is_none() {
            // Under the lock: whoever inserts next sees it and wakes.
            self.awake.store(false, Ordering::Release);
        }
        next
    }

    /// Messages and bytes not confirmed yet.
    pub(crate) fn load(&self) -> (usize, usize) {
        (
            self.max_count - self.count.available_permits(),
            self.max_bytes.saturating_sub(self.bytes.available_permits()),
        )
    }

    /// Waits until everything that has to be confirmed is, or the deadline; how many are left.
    pub(crate) async fn drain(&self, deadline: Instant) -> usize {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            let left = self.lock().must_confirm;
            if left == 0 || timeout_at(deadline, drained).await.is_err() {
                return left;
            }
        }
    }

    /// Whoever waits for room learns that the node is closed.
    pub(crate) fn close(&self) {
        self.count.close();
        self.bytes.close();
        let tracks: Vec<_> = self.lock().entries.values().map(|e| Arc::clone(&e.track)).collect();
        for track in tracks {
            track.update(|p| p.given_up = true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the message may be known to somebody. What nobody saw and nobody stored needs no place in the history.
fn is_seen(pending: &Pending, track: &Track) -> bool {
    pending.outgoing.seen || track.progress().accepted
}

fn permits(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// The pause after the copy of that number: as the original for the first ones, then doubling.
fn resend_pause(pause: Duration, copies: u32) -> Duration {
    let pause = pause.min(FAR);
    let extra = Duration::from_millis(100).saturating_mul(copies).min(Duration::from_millis(500));
    let doubled = if copies < 3 { pause } else { pause.saturating_mul(1 << (copies - 2).min(10)) };
    let whole = (doubled + extra).min(RESEND_MAX.max(pause));
    whole.mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests;
