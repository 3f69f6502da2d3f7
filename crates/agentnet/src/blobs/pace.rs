//! How many chunks of a transfer are under way at once, and how long each may take: as the connection carries them.
//!
//! A window of eight chunks is 4 MiB. Over a slow connection its last chunk arrives long after it was due, and sending
//! all of them again would never end. So it begins with two, what is answered quickly opens the window, and what isn't
//! answered in time halves it and doubles the time.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::retry::{FIRST, LONGEST, may_pass};
use crate::{
    error::{Error, ErrorKind},
    registry::CHUNK_TIMEOUT,
};

/// Longest time of one chunk: 512 KiB at 13 KB/s.
const SLOWEST: Duration = Duration::from_secs(40);
/// How many chunks a transfer begins with.
const START: usize = 2;
/// What is answered within this shows that there is room for more.
const QUICK: Duration = Duration::from_millis(1250);

#[derive(Debug)]
struct State {
    /// Where the chunks begin that aren't over.
    open: BTreeSet<u64>,
    window: usize,
    within: Duration,
    /// When the window was made smaller last. What began before says nothing about it.
    cut: Instant,
    /// When something was answered last.
    moved: Instant,
}

/// The pace of one transfer.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    patience: Duration,
    state: Mutex<State>,
    changed: Notify,
}

impl Pace {
    /// At most `most` chunks at once; gives up once nothing was answered for `patience`.
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        let now = Instant::now();
        let (open, most) = (BTreeSet::new(), most.max(1));
        let window = most.min(START);
        let state = State { open, window, within: CHUNK_TIMEOUT, cut: now, moved: now };
        Self { most, patience, state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many chunks may be under way.
    pub(super) fn window(&self) -> usize {
        self.state().window
    }

    /// Asks for, or sends, the chunk that begins at `offset` until that is answered. Where fewer chunks may be under way
    /// than there are, the first of them are.
    pub(super) async fn carry<T, F>(
        &self,
        offset: u64,
        mut ask: impl FnMut(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let _open = Open::new(self, offset);
        // A reader may have had nothing to carry for long.
        let (started, mut pause) = (Instant::now(), FIRST);
        loop {
            let within = self.turn(offset).await;
            let began = Instant::now();
            let error = match ask(within).await {
                Ok(answer) => {
                    self.answered(began);
                    return Ok(answer);
                }
                Err(error) if may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            if error.kind() == ErrorKind::Timeout {
                self.timed_out(began);
            }
            let moved = self.state().moved.max(started);
            if moved.elapsed() + pause >= self.patience {
                return Err(error);
            }
            tracing::debug!(%error, "a part of a transfer failed; it is tried again");
            let part = rand::rng().random_range(0.5..1.0);
            sleep(pause.mul_f64(part)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Waits until the chunk is one of the first; how long it may take.
    async fn turn(&self, offset: u64) -> Duration {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if state.open.range(..offset).count() < state.window {
                    return state.within;
                }
            }
            changed.await;
        }
    }

    fn answered(&self, began: Instant) {
        let now = Instant::now();
        let mut state = self.state();
        state.moved = now;
        if now - began < QUICK && began >= state.cut {
            state.within = CHUNK_TIMEOUT;
            if state.window < self.most {
                state.window += 1;
                self.changed.notify_waiters();
            }
        }
    }

    fn timed_out(&self, began: Instant) {
        let mut state = self.state();
        // Those of one window are late together.
        if began < state.cut {
            return;
        }
        state.within = (state.within * 2).min(SLOWEST);
        state.window = (state.window / 2).max(1);
        state.cut = Instant::now();
    }
}

/// A chunk that isn't over.
struct Open<'a>(&'a Pace, u64);

impl<'a> Open<'a> {
    fn new(pace: &'a Pace, offset: u64) -> Self {
        pace.state().open.insert(offset);
        Self(pace, offset)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open.remove(&self.1);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::{StreamExt as _, stream};
    use tokio::time::{sleep_until, timeout};

    use super::*;

    const CHUNK: u64 = 512 * 1024;
    const CHUNKS: u64 = 24;

    /// Carries a transfer over a line of so many bytes a second, on which what isn't waited for any more takes its time
    /// as well; how many chunks went over it.
    async fn over(bytes_per_second: u64) -> (Result<(), Error>, u64) {
        let each = Duration::from_secs_f64(CHUNK as f64 / bytes_per_second as f64);
        let (pace, free, sent) =
            (Pace::new(8, Duration::from_secs(60)), Cell::new(Instant::now()), Cell::new(0));
        let (pace, free, sent) = (&pace, &free, &sent);
        let send = |within| async move {
            sent.set(sent.get() + 1);
            let arrives = free.get().max(Instant::now()) + each;
            free.set(arrives);
            let late = |_| Error::new(ErrorKind::Timeout, "late");
            timeout(within, sleep_until(arrives)).await.map_err(late)
        };
        let mut chunks = stream::iter(0..CHUNKS).map(|n| pace.carry(n * CHUNK, send)).buffered(8);
        while let Some(carried) = chunks.next().await {
            if let Err(error) = carried {
                return (Err(error), sent.get());
            }
        }
        (Ok(()), sent.get())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_lines_carry_files_too() {
        for bytes_per_second in [100_000_000, 700_000, 250_000, 100_000, 60_000] {
            let (ended, sent) = over(bytes_per_second).await;
            assert!(ended.is_ok(), "{bytes_per_second}: {ended:?}");
            // Some go over the line twice until the pace is found, and not again and again.
            assert!(sent <= 3 * CHUNKS, "{bytes_per_second}: {sent}");
        }
        let (ended, sent) = over(100_000_000).await;
        assert!(ended.is_ok() && sent == CHUNKS, "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_move_ends() {
        let (pace, began) = (Pace::new(8, Duration::from_secs(60)), Instant::now());
        let dead = |within| async move {
            sleep(within).await;
            Err::<(), _>(Error::new(ErrorKind::Timeout, "nothing"))
        };
        assert!(pace.carry(0, dead).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    }
}
