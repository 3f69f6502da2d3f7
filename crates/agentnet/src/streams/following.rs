//! Streams that this node reads: what came of them, and when to ask for what didn't.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Capability, ErrorCode, StreamFrame,
    signature::PublicKey,
    stream::{MAX_FRAMES_PER_SECOND, StreamEnd, StreamError},
};
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::assembly::{Assembly, Ended, Parts};
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
};

/// Most streams that a node reads at a time.
pub(super) const MAX_READING: usize = 256;
/// How long a gap may wait for what is under way already before it is asked for.
const GAP_PAUSE: Duration = Duration::from_millis(200);
/// After so long without a frame the sender is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a sender that failed may take to repeat what it said before.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After so long without an answer the finished text is looked for in the history.
const LOOK_UP_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(3);
/// How long the sender's key is known without looking whether it still holds.
const KEY_LIFE: Duration = Duration::from_secs(1);
/// How long a delta number 0 is waited for when number 1 is there.
const BASE_PAUSE: Duration = Duration::from_millis(300);

/// Where the end of a stream is looked for when its sender is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The message that will hold the finished text.
    Message(String),
    /// The reply to a request, which the request waits for.
    Reply,
    /// The messages that follow.
    Inbox,
}

/// How long a reader waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For any sign of life.
    pub(super) silence: Duration,
    /// For the whole.
    pub(super) total: Duration,
}

#[derive(Debug)]
struct State {
    assembly: Assembly,
    /// Who sends; of a request to a capability known with the first frame.
    from: Option<AccountId>,
    /// The capability that was asked: its sender serves it.
    capability: Option<Capability>,
    heard: Instant,
    asked: Option<Instant>,
    looked_up: Option<Instant>,
    gap_since: Option<Instant>,
    /// The sender's key, and when it was asked for.
    key: Option<(PublicKey, Instant)>,
    /// Frames within the second that began then.
    second: (Instant, u32),
    /// Whether anything was heard of the sender.
    begun: bool,
}

/// One stream that is read.
#[derive(Debug)]
pub(crate) struct Following {
    /// What it is found by: its id, and of an original's stream, whose ids needn't be unique, its sender as well.
    key: String,
    pub(crate) id: String,
    pub(super) source: Source,
    patience: Patience,
    started: Instant,
    state: Mutex<State>,
    waker: AtomicWaker,
}

/// What a look at a stream's state asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Ask the sender to go on from there.
    Resume(AccountId, u64),
    /// Look for the finished text.
    LookUp(String),
}

impl Following {
    pub(super) fn new(
        id: &str,
        source: Source,
        from: Option<AccountId>,
        patience: Patience,
        now: Instant,
    ) -> Self {
        let (parts, key) = match (&source, &from) {
            (Source::Inbox, Some(from)) => (Parts::Messages, key_of_original(from.as_str(), id)),
            (Source::Inbox, None) => (Parts::Messages, id.to_owned()),
            _ => (Parts::Frames, id.to_owned()),
        };
        Self {
            key,
            id: id.to_owned(),
            patience,
            started: now,
            state: Mutex::new(State {
                assembly: Assembly::new(parts),
                from,
                capability: None,
                heard: now,
                asked: None,
                looked_up: None,
                gap_since: None,
                key: None,
                second: (now, 0),
                begun: false,
            }),
            source,
            waker: AtomicWaker::new(),
        }
    }

    /// Whose frames count, now that it is known.
    pub(crate) fn expect(&self, from: AccountId) {
        self.lock().from.get_or_insert(from);
    }

    /// Frames count from who serves this capability.
    pub(crate) fn expect_holder(&self, capability: Capability) {
        self.lock().capability = Some(capability);
    }

    /// The capability that whoever sends the first frame must serve.
    pub(super) fn wanted_of_sender(&self) -> Option<Capability> {
        let state = self.lock();
        if state.from.is_none() { state.capability.clone() } else { None }
    }

    /// Whether anything was heard of its sender.
    pub(crate) fn has_begun(&self) -> bool {
        self.lock().begun
    }

    /// When it must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        after(self.started, self.patience.total)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn from(&self) -> Option<AccountId> {
        self.lock().from.clone()
    }

    /// The sender's key, if it was asked for a moment ago: a revoked one counts no longer than that.
    pub(super) fn key(&self, now: Instant) -> Option<PublicKey> {
        self.lock().key.filter(|(_, since)| now < *since + KEY_LIFE).map(|(key, _)| key)
    }

    pub(super) fn remember_key(&self, key: PublicKey, now: Instant) {
        self.lock().key = Some((key, now));
    }

    pub(super) fn text(&self) -> String {
        self.lock().assembly.text().to_owned()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().assembly.has_ended()
    }

    /// Whether a frame of that sender may be for this stream; before anything is checked that costs.
    pub(super) fn may_take(&self, from: &str, now: Instant) -> bool {
        let mut state = self.lock();
        let (began, count) = state.second;
        state.second =
            if now.duration_since(began) >= Duration::from_secs(1) { (now, 1) } else { (began, count + 1) };
        // Twice the rate of an honest sender: what it repeats comes on top.
        state.second.1 <= 2 * MAX_FRAMES_PER_SECOND
            && !state.assembly.has_ended()
            && state.from.as_ref().is_none_or(|known| known.as_str() == from)
    }

    /// Takes a frame that is proved to be `from`'s.
    pub(super) fn frame(&self, from: AccountId, frame: StreamFrame, now: Instant) {
        {
            let mut state = self.lock();
            if state.from.as_ref().is_some_and(|known| *known != from) {
                return;
            }
            state.from = Some(from);
            state.heard = now;
            state.begun = true;
            match frame {
                StreamFrame::Start(start) => {
                    if let Some(seq) = start.replay_from {
                        state.assembly.replays_from(seq);
                    }
                    state.assembly.has_spoken(start.seq.unwrap_or(0));
                }
                StreamFrame::Delta(delta) => {
                    let mut seq = delta.seq;
                    for text in std::iter::once(&delta.delta).chain(&delta.more) {
                        state.assembly.delta(seq, text);
                        seq = seq.saturating_add(1);
                    }
                }
                // The reply itself ends a request, so that the answer is what was stored.
                StreamFrame::End(end) => state.assembly.end(end),
                StreamFrame::Error(error) => {
                    state.assembly.fail_after(error.seq, code_of(&error), detail_of(error));
                }
                StreamFrame::Resume(_) | StreamFrame::Cancel(_) => {}
            }
            let has_gap = state.assembly.has_gap();
            state.gap_since = has_gap.then(|| state.gap_since.unwrap_or(now));
        }
        self.waker.wake();
    }

    /// A part of an original's stream came as a message.
    pub(super) fn part(&self, frame: &StreamFrame, message_id: &str, now: Instant) {
        {
            let mut state = self.lock();
            state.heard = now;
            match frame {
                StreamFrame::Delta(delta) => state.assembly.delta(delta.seq, &delta.delta),
                StreamFrame::End(end) => state.assembly.finish(end, message_id),
                StreamFrame::Error(error) => {
                    state.assembly.fail(ErrorCode::StreamBroken, format!("its sender says: {}", error.error));
                }
                StreamFrame::Start(_) | StreamFrame::Resume(_) | StreamFrame::Cancel(_) => {}
            }
        }
        self.waker.wake();
    }

    /// The finished text came.
    pub(super) fn finish(&self, end: &StreamEnd, message_id: &str) {
        self.lock().assembly.finish(end, message_id);
        self.waker.wake();
    }

    pub(super) fn fail(&self, code: ErrorCode, detail: impl Into<String>) {
        self.lock().assembly.fail(code, detail.into());
        self.waker.wake();
    }

    /// Its sender says that it failed.
    pub(super) fn failed_by(&self, error: StreamError) {
        let now = Instant::now();
        {
            let mut state = self.lock();
            // Its sender lives, or did a moment ago.
            state.heard = now;
            state.assembly.fail_after(error.seq, code_of(&error), detail_of(error));
            let has_gap = state.assembly.has_gap();
            state.gap_since = has_gap.then(|| state.gap_since.unwrap_or(now));
        }
        self.waker.wake();
    }

    /// Once there is a sign of the sender, or the end.
    pub(super) fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        let state = self.lock();
        if state.begun || state.assembly.has_ended() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The connection is back: what was published meanwhile is gone.
    pub(super) fn reconnected(&self, now: Instant) {
        let mut state = self.lock();
        state.asked = None;
        // As if it had been silent: asked at the next look.
        state.heard = now.checked_sub(SILENCE).unwrap_or(now);
    }

    /// What has to be done about it now.
    pub(super) fn due(&self, now: Instant) -> Due {
        let due = self.look(now);
        if self.has_ended() {
            self.waker.wake();
        }
        due
    }

    fn look(&self, now: Instant) -> Due {
        let mut state = self.lock();
        if state.assembly.has_ended() {
            return Due::Nothing;
        }
        if now >= self.deadline() {
            let seconds = self.patience.total.as_secs();
            state
                .assembly
                .fail(ErrorCode::StreamTooLong, format!("the stream didn't end within {seconds} s"));
            return Due::Nothing;
        }
        let silent = now.saturating_duration_since(state.heard);
        if state.assembly.is_unbased() && silent >= BASE_PAUSE {
            state.assembly.count_from_one();
            drop(state);
            self.waker.wake();
            return Due::Nothing;
        }
        // A request that nobody began to answer has its own patience.
        if self.source == Source::Reply && !state.begun {
            return Due::Nothing;
        }
        if silent >= LAST_WORDS && state.assembly.give_up() {
            return Due::Nothing;
        }
        if silent >= self.patience.silence {
            let seconds = self.patience.silence.as_secs();
            let detail = format!(
                "nothing was heard of the stream for {seconds} s, and its finished text isn't stored"
            );
            state.assembly.fail(ErrorCode::StreamBroken, detail);
            return Due::Nothing;
        }
        if self.source == Source::Inbox {
            return Due::Nothing;
        }
        let looked_up = state.looked_up.is_none_or(|at| now >= at + LOOK_UP_PAUSE);
        if looked_up
            && (silent >= LOOK_UP_AFTER || state.assembly.needs_text())
            && let Source::Message(message_id) = &self.source
        {
            state.looked_up = Some(now);
            let message_id = state.assembly.announced_message().unwrap_or(message_id).to_owned();
            return Due::LookUp(message_id);
        }
        let Some(from) = state.from.clone() else { return Due::Nothing };
        let has_gap =
            state.gap_since.is_some_and(|since| now >= since + GAP_PAUSE) && state.assembly.has_gap();
        let pause = if has_gap { GAP_PAUSE } else { SILENCE };
        let is_time = state.asked.is_none_or(|at| now >= at + pause);
        if is_time && (has_gap || silent >= SILENCE || !state.begun) {
            state.asked = Some(now);
            return Due::Resume(from, state.assembly.next());
        }
        Due::Nothing
    }

    /// The next delta; `None` once it has ended and everything is taken.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<String, Error>>> {
        self.waker.register(cx.waker());
        let mut state = self.lock();
        if let Some(delta) = state.assembly.take() {
            return Poll::Ready(Some(Ok(delta)));
        }
        match state.assembly.outcome() {
            None => Poll::Pending,
            Some(Ok(_)) => Poll::Ready(None),
            Some(Err(_)) => Poll::Ready(state.assembly.error().map(Err)),
        }
    }

    pub(super) fn ended(&self) -> Option<Result<Ended, Error>> {
        let state = self.lock();
        match state.assembly.outcome()? {
            Ok(ended) => Some(Ok(ended.clone())),
            Err(_) => state.assembly.error().map(Err),
        }
    }
}

/// The code that a sender gives, if it is one.
fn code_of(error: &StreamError) -> ErrorCode {
    ErrorCode::parse(&error.error).unwrap_or(ErrorCode::StreamBroken)
}

fn detail_of(error: StreamError) -> String {
    if error.detail.is_empty() { format!("its sender says: {}", error.error) } else { error.detail }
}

/// What an original's stream is found by.
pub(super) fn key_of_original(from: &str, id: &str) -> String {
    format!("{from} {id}")
}

/// The streams that this node reads, by their keys.
#[derive(Debug, Default)]
pub(super) struct Reading {
    streams: Mutex<HashMap<String, Arc<Following>>>,
}

impl Reading {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Following>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a stream, unless it is followed already.
    pub(super) fn insert(&self, following: Following) -> Result<Option<Arc<Following>>, Error> {
        let mut streams = self.lock();
        if streams.get(&following.key).is_some_and(|known| !known.has_ended()) {
            return Ok(None);
        }
        if streams.len() >= MAX_READING {
            let detail = format!("{MAX_READING} streams are being read; read or drop some of them");
            return Err(Error::new(ErrorKind::Busy, detail));
        }
        let following = Arc::new(following);
        streams.insert(following.key.clone(), Arc::clone(&following));
        Ok(Some(following))
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Following>> {
        self.lock().get(key).cloned()
    }

    /// Follows it no more.
    pub(super) fn remove(&self, following: &Arc<Following>) {
        let mut streams = self.lock();
        if streams.get(&following.key).is_some_and(|known| Arc::ptr_eq(known, following)) {
            streams.remove(&following.key);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Following>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}
