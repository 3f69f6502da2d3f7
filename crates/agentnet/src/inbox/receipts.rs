//! Receipts this node sent and the network hasn't confirmed yet.
//!
//! A recipient of 1.2 repeats its receipts until `account.<me>.stored` names them, so that a lost one doesn't make the
//! network deliver the message again. Only the last word about a message is kept. At the limit the oldest are
//! forgotten and counted: the message then is delivered again and answered from the dedupe.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{ReceiptStatus, StoredReceipt};
use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::deadline::after;

/// How long a confirmation may take before the receipt is repeated; doubles up to [`RESEND_MAX`].
const RESEND_FIRST: Duration = Duration::from_secs(2);
const RESEND_MAX: Duration = Duration::from_secs(10);

/// A receipt as it is published: subject, signature, body.
pub(crate) type Wire = (String, Option<Arc<str>>, Bytes);

#[derive(Debug)]
struct Waiting {
    status: ReceiptStatus,
    subject: String,
    signature: Option<Arc<str>>,
    body: Bytes,
    /// Its place in [`Book::due`].
    place: (Instant, u64),
    /// When it is due; later than its place says once another receipt replaced it.
    due: Instant,
    copies: u32,
    forget_at: Instant,
}

#[derive(Debug, Default)]
struct Book {
    waiting: HashMap<Arc<str>, Waiting>,
    due: BTreeMap<(Instant, u64), Arc<str>>,
    next: u64,
}

#[derive(Debug)]
pub(crate) struct ReceiptBox {
    book: Mutex<Book>,
    max: usize,
    max_age: Duration,
    forgotten: AtomicU64,
    drained: Notify,
    wake: Arc<Notify>,
    awake: AtomicBool,
}

impl ReceiptBox {
    pub(crate) fn new(max: usize, max_age: Duration, wake: Arc<Notify>) -> Self {
        Self {
            book: Mutex::default(),
            max: max.max(1),
            max_age,
            forgotten: AtomicU64::new(0),
            drained: Notify::new(),
            wake,
            awake: AtomicBool::new(false),
        }
    }

    /// Keeps a receipt; it replaces an earlier one about the same message.
    pub(crate) fn keep(
        &self,
        message_id: &str,
        status: ReceiptStatus,
        (subject, signature, body): Wire,
        now: Instant,
    ) {
        let mut book = self.lock();
        let (due, forget_at) = (now + RESEND_FIRST, after(now, self.max_age));
        if let Some(old) = book.waiting.get_mut(message_id) {
            // The backlog's senders are told by whichever worker gets stuck; another one may be done by then.
            if (&old.status, &status) == (&ReceiptStatus::Processed, &ReceiptStatus::Accepted) {
                return;
            }
            // Keeps its place: nearly every `accepted` is replaced by a `processed`, and hardly any is ever repeated.
            *old = Waiting { status, subject, signature, body, place: old.place, due, copies: 1, forget_at };
            return;
        }
        let id: Arc<str> = message_id.into();
        book.next += 1;
        let place = (due, book.next);
        let waiting = Waiting { status, subject, signature, body, place, due, copies: 1, forget_at };
        book.waiting.insert(Arc::clone(&id), waiting);
        book.due.insert(place, id);
        if book.waiting.len() > self.max
            && let Some((_, oldest)) = book.due.pop_first()
        {
            book.waiting.remove(&oldest);
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        drop(book);
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// The network stored these receipts.
    pub(crate) fn confirmed<S: AsRef<str>>(&self, receipts: &[StoredReceipt<S>]) {
        let mut book = self.lock();
        for receipt in receipts {
            let id = receipt.message_id.as_ref();
            // An earlier receipt's confirmation says nothing about the one that replaced it.
            if book.waiting.get(id).is_some_and(|w| w.status == receipt.status)
                && let Some(waiting) = book.waiting.remove(id)
            {
                book.due.remove(&waiting.place);
            }
        }
        if book.waiting.is_empty() {
            self.drained.notify_waiters();
        }
    }

    /// Up to `limit` receipts that are due again.
    pub(crate) fn due(&self, now: Instant, limit: usize) -> Vec<Wire> {
        let mut resends = Vec::new();
        let mut book = self.lock();
        while resends.len() < limit
            && let Some((&key, _)) = book.due.first_key_value()
            && key.0 <= now
        {
            let Some(id) = book.due.remove(&key) else { break };
            book.next += 1;
            let number = book.next;
            let Some(waiting) = book.waiting.get_mut(&id) else { continue };
            if waiting.forget_at <= now {
                book.waiting.remove(&id);
                self.forgotten.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if waiting.due <= now {
                let pause = RESEND_FIRST.saturating_mul(1 << waiting.copies.min(10)).min(RESEND_MAX);
                waiting.copies += 1;
                waiting.due = now + pause.mul_f64(rand::random_range(0.9..=1.1));
                resends.push((waiting.subject.clone(), waiting.signature.clone(), waiting.body.clone()));
            }
            waiting.place = (waiting.due, number);
            let place = waiting.place;
            book.due.insert(place, id);
        }
        if book.waiting.is_empty() {
            self.drained.notify_waiters();
        }
        resends
    }

    /// After a reconnect: what was under way may be lost, so everything is due.
    pub(crate) fn all_due(&self, now: Instant) {
        let mut book = self.lock();
        let ids: Vec<_> = std::mem::take(&mut book.due).into_values().collect();
        for id in ids {
            book.next += 1;
            let place = (now, book.next);
            if let Some(waiting) = book.waiting.get_mut(&id) {
                (waiting.due, waiting.place) = (now, place);
                book.due.insert(place, id);
            }
        }
    }

    /// When the next receipt is due; the caller then may sleep until woken if there is none.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let book = self.lock();
        let next = book.due.first_key_value().map(|(key, _)| key.0);
        if next.is_none() {
            self.awake.store(false, Ordering::Release);
        }
        next
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many receipts were given up without a confirmation.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Waits until every receipt is confirmed, or the deadline; how many are left.
    pub(crate) async fn drain(&self, deadline: Instant) -> usize {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            let left = self.len();
            if left == 0 || timeout_at(deadline, drained).await.is_err() {
                return left;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts() -> (ReceiptBox, Instant) {
        (ReceiptBox::new(3, Duration::from_secs(60), Arc::default()), Instant::now())
    }

    fn keep(book: &ReceiptBox, id: &str, status: ReceiptStatus, now: Instant) {
        let body = Bytes::from(format!("{id} {status}"));
        book.keep(id, status, ("account.a.receipts".into(), None, body), now);
    }

    fn due(book: &ReceiptBox, now: Instant) -> Vec<String> {
        book.due(now, 10).into_iter().map(|(_, _, body)| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    fn confirm(book: &ReceiptBox, id: &str, status: ReceiptStatus) {
        book.confirmed(&[StoredReceipt { message_id: id, status }]);
    }

    #[test]
    fn the_last_word_is_repeated_until_confirmed() {
        let (book, start) = receipts();
        keep(&book, "m", ReceiptStatus::Accepted, start);
        keep(&book, "m", ReceiptStatus::Processed, start);
        confirm(&book, "m", ReceiptStatus::Accepted);
        assert!(due(&book, start).is_empty());
        assert_eq!(due(&book, start + RESEND_FIRST), ["m processed"]);
        assert!(due(&book, start + RESEND_FIRST).is_empty());
        confirm(&book, "m", ReceiptStatus::Processed);
        assert!(due(&book, start + Duration::from_secs(30)).is_empty());
        assert_eq!((book.len(), book.next_due()), (0, None));
    }

    #[test]
    fn a_late_accepted_replaces_a_refusal_and_nothing_better() {
        let (book, start) = receipts();
        keep(&book, "m", ReceiptStatus::Processed, start);
        keep(&book, "n", ReceiptStatus::Rejected, start);
        for id in ["m", "n"] {
            keep(&book, id, ReceiptStatus::Accepted, start);
        }
        assert_eq!(due(&book, start + RESEND_FIRST), ["m processed", "n accepted"]);
    }

    #[test]
    fn bounded_by_count_and_age() {
        let (book, start) = receipts();
        for id in ["a", "b", "c", "d"] {
            keep(&book, id, ReceiptStatus::Processed, start);
        }
        assert_eq!((book.len(), book.forgotten()), (3, 1));
        assert!(due(&book, start + Duration::from_secs(60)).is_empty());
        assert_eq!((book.len(), book.forgotten()), (0, 4));
    }

    #[test]
    fn a_reconnect_makes_everything_due() {
        let (book, start) = receipts();
        keep(&book, "a", ReceiptStatus::Accepted, start);
        keep(&book, "b", ReceiptStatus::Processed, start);
        book.all_due(start);
        assert_eq!(due(&book, start), ["a accepted", "b processed"]);
    }
}
