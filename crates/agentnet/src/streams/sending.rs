//! Streams that this node sends: who reads them, and what can be repeated to whom.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{
    AccountId, StreamFrame, Token,
    stream::{StreamDelta, StreamStart},
};
use tokio::{sync::Notify, time::Instant};

use super::wire::Framed;
use crate::error::{Error, ErrorKind};

/// Most streams that a node sends at a time.
const MAX_SENDING: usize = 256;
/// Most ended streams that can still be repeated.
const MAX_ENDED: usize = 256;
/// How long an ended stream can still be repeated.
const KEEP: Duration = Duration::from_secs(60);
/// A reader is repeated something at most so often.
const REPEAT_PAUSE: Duration = Duration::from_millis(50);
/// Most readers of one stream: as many as a thread has members.
const MAX_READERS: usize = 256;

/// Who may read a stream.
#[derive(Debug)]
pub(super) enum Audience {
    /// One account; whoever it is, a cancel of its ends the stream.
    Account(AccountId),
    /// The members of a thread; a cancel ends it for one of them.
    Thread(String),
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    count: u64,
    framed: Framed,
}

#[derive(Debug, Default)]
struct State {
    readers: HashMap<AccountId, Option<Instant>>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    next: u64,
    /// The last frame, once it is there, and until when it is repeated.
    ended: Option<(Framed, Instant)>,
}

/// One stream that is sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) id: Token,
    pub(super) audience: Audience,
    pub(super) start: StreamStart,
    keep_bytes: usize,
    state: Mutex<State>,
    cancelled: AtomicBool,
    changed: Notify,
}

/// What a reader is to be repeated.
pub(super) struct Replay {
    pub(super) start: StreamFrame,
    pub(super) frames: Vec<Framed>,
}

impl Sending {
    pub(super) fn new(id: Token, audience: Audience, start: StreamStart, keep_bytes: usize) -> Self {
        let state = State::default();
        let cancelled = AtomicBool::new(false);
        Self { id, audience, start, keep_bytes, state: Mutex::new(state), cancelled, changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self) -> u64 {
        self.lock().next
    }

    /// Somebody who reads without having asked.
    pub(super) fn read_by(&self, reader: AccountId) {
        self.lock().readers.insert(reader, None);
    }

    /// Keeps the next deltas to be repeated, and says who reads them now. What is beyond the bound is forgotten.
    pub(super) fn keep(&self, count: u64, framed: &Framed) -> Vec<AccountId> {
        let mut state = self.lock();
        let seq = state.next;
        state.next += count;
        state.kept_bytes += framed.body.len();
        state.kept.push_back(Kept { seq, count, framed: framed.clone() });
        while state.kept_bytes > self.keep_bytes
            && let Some(oldest) = state.kept.pop_front()
        {
            state.kept_bytes -= oldest.framed.body.len();
        }
        state.readers.keys().cloned().collect()
    }

    /// No more deltas come. Who reads it.
    pub(super) fn end(&self, framed: &Framed, now: Instant) -> Vec<AccountId> {
        let mut state = self.lock();
        state.ended = Some((framed.clone(), now + KEEP));
        state.readers.keys().cloned().collect()
    }

    fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.lock().ended.as_ref().is_some_and(|(_, until)| *until <= now)
    }

    /// A reader wants to read from `seq` on. `None` if it asked just now, or there are too many.
    pub(super) fn resume(&self, reader: AccountId, seq: u64, now: Instant) -> Option<Replay> {
        let mut state = self.lock();
        if state.readers.len() >= MAX_READERS && !state.readers.contains_key(&reader) {
            return None;
        }
        let asked = state.readers.entry(reader).or_default();
        if asked.is_some_and(|at| now < at + REPEAT_PAUSE) {
            return None;
        }
        *asked = Some(now);
        let start = self.start_of(&state);
        let missing = state.kept.iter().filter(|kept| kept.seq + kept.count > seq);
        let mut frames: Vec<Framed> = missing.map(|kept| kept.framed.clone()).collect();
        frames.extend(state.ended.iter().map(|(framed, _)| framed.clone()));
        Some(Replay { start, frames })
    }

    fn start_of(&self, state: &State) -> StreamFrame {
        let replay_from = state.kept.front().map_or(state.next, |kept| kept.seq);
        StreamFrame::Start(StreamStart {
            seq: Some(state.next),
            replay_from: Some(replay_from),
            ..self.start.clone()
        })
    }

    /// How far it is, for its readers; the connection was away.
    pub(super) fn news(&self) -> (StreamFrame, Vec<AccountId>) {
        let state = self.lock();
        (self.start_of(&state), state.readers.keys().cloned().collect())
    }

    /// A reader wants no more of it.
    pub(super) fn cancel(&self, reader: &AccountId) {
        self.lock().readers.remove(reader);
        if matches!(&self.audience, Audience::Account(account) if account == reader) {
            self.cancelled.store(true, Ordering::Release);
            self.changed.notify_waiters();
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Until its reader cancels it.
    pub(super) async fn cancelled(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            changed.await;
        }
    }
}

/// A frame of deltas that follow one another.
pub(super) fn delta_frame(id: &Token, seq: u64, mut deltas: Vec<String>, from: &AccountId) -> StreamFrame {
    let rest = if deltas.is_empty() { Vec::new() } else { deltas.split_off(1) };
    StreamFrame::Delta(StreamDelta {
        stream_id: id.to_string(),
        delta: deltas.pop().unwrap_or_default(),
        seq,
        more: rest,
        role: None,
        content_type: None,
        from_account_id: Some(from.to_string()),
    })
}

/// The streams that this node sends, by their ids.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    streams: Mutex<HashMap<String, Arc<Sending>>>,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Sending>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, sending: Sending, now: Instant) -> Result<Arc<Sending>, Error> {
        let mut streams = self.lock();
        streams.retain(|_, known| !known.is_over(now));
        let ended = streams.values().filter(|known| known.has_ended()).count();
        if streams.len() - ended >= MAX_SENDING {
            let detail = format!("{MAX_SENDING} streams are being sent; wait for one of them");
            return Err(Error::new(ErrorKind::Busy, detail));
        }
        if ended >= MAX_ENDED {
            streams.retain(|_, known| !known.has_ended());
        }
        if streams.contains_key(sending.id.as_str()) {
            return Err(Error::new(ErrorKind::Duplicate, "a stream of that id is being sent"));
        }
        let sending = Arc::new(sending);
        streams.insert(sending.id.as_str().to_owned(), Arc::clone(&sending));
        Ok(sending)
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Sending>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Sending>> {
        self.lock().values().cloned().collect()
    }

    /// Lets go what can't be repeated any more.
    pub(super) fn expire(&self, now: Instant) {
        self.lock().retain(|_, known| !known.is_over(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str) -> Framed {
        Framed { body: text.to_owned().into(), signature: None }
    }

    fn bodies(replay: &Replay) -> Vec<String> {
        replay.frames.iter().map(|frame| String::from_utf8_lossy(&frame.body).into_owned()).collect()
    }

    fn sending(keep_bytes: usize) -> Sending {
        let account = AccountId::new("acct_b").unwrap();
        let start = StreamStart { stream_id: "s".into(), ..StreamStart::default() };
        Sending::new(Token::new("s").unwrap(), Audience::Account(account), start, keep_bytes)
    }

    #[test]
    fn what_a_reader_lacks_is_repeated_as_far_as_it_is_kept() {
        let (sending, bob) = (sending(6), AccountId::new("acct_b").unwrap());
        let now = Instant::now();
        for (count, text) in [(1, "aa"), (2, "bb"), (1, "cc")] {
            assert!(sending.keep(count, &framed(text)).is_empty(), "nobody reads it yet");
        }
        let replay = sending.resume(bob.clone(), 0, now).unwrap();
        assert_eq!(bodies(&replay), ["aa", "bb", "cc"]);
        assert!(sending.resume(bob.clone(), 0, now).is_none(), "it asked just now");
        let later = now + REPEAT_PAUSE;
        // Delta 2 is the second of its frame.
        assert_eq!(bodies(&sending.resume(bob.clone(), 2, later).unwrap()), ["bb", "cc"]);
        assert_eq!(sending.keep(1, &framed("dd")), std::slice::from_ref(&bob));
        sending.end(&framed("end"), later);
        let replay = sending.resume(bob.clone(), 0, later + REPEAT_PAUSE).unwrap();
        assert_eq!(bodies(&replay), ["bb", "cc", "dd", "end"]);
        let StreamFrame::Start(start) = &replay.start else { panic!("{:?}", replay.start) };
        assert_eq!((start.seq, start.replay_from), (Some(5), Some(1)));
        assert!(!sending.is_over(later) && sending.is_over(later + KEEP));
        sending.cancel(&AccountId::new("acct_c").unwrap());
        assert!(!sending.is_cancelled(), "a stranger cancels nothing");
        sending.cancel(&bob);
        assert!(sending.is_cancelled() && sending.keep(1, &framed("ee")).is_empty());
    }
}
