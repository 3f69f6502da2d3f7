//! The backlog between the inbox and the workers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet_proto::Envelope;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::Source;

/// How long senders are told at once after a handler blocked its thread.
const BLOCKING: Duration = Duration::from_secs(10);

/// An admitted message.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) source: Source,
    /// Lower-case hex SHA-256 of its body.
    pub(crate) body_sha256: String,
    pub(crate) attempt: u32,
    /// Whether the sender was told that it is accepted.
    pub(crate) is_told: bool,
}

/// A message whose sender must hear now that it is accepted.
#[derive(Debug)]
pub(crate) struct Untold {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) body_sha256: String,
}

impl Job {
    fn tell(&mut self) -> Option<Untold> {
        let untold =
            || Untold { envelope: Arc::clone(&self.envelope), body_sha256: self.body_sha256.clone() };
        let untold = (!self.is_told).then(untold);
        self.is_told = true;
        untold
    }
}

#[derive(Debug, Default)]
struct Backlog {
    jobs: VecDeque<Job>,
    /// Workers whose handler waits for something.
    waiting: usize,
    blocking_until: Option<Instant>,
}

impl Backlog {
    fn is_quick(&self, workers: usize, now: Instant) -> bool {
        self.waiting < workers && self.blocking_until.is_none_or(|until| until <= now)
    }

    fn untold(&mut self) -> Vec<Untold> {
        self.jobs.iter_mut().filter_map(Job::tell).collect()
    }
}

/// First in, first out; bounded; workers take from it without holding a lock while they wait.
#[derive(Debug)]
pub(crate) struct JobQueue {
    backlog: Mutex<Backlog>,
    max: usize,
    workers: usize,
    added: Notify,
    idle: Notify,
    inflight: AtomicUsize,
}

/// A job at work; dropping it says that the work is over.
pub(crate) struct InFlight<'a>(&'a JobQueue);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A worker whose handler waits.
pub(crate) struct Waits<'a>(&'a JobQueue);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl JobQueue {
    pub(crate) fn new(max: usize, workers: usize) -> Self {
        Self {
            backlog: Mutex::default(),
            max,
            workers,
            added: Notify::new(),
            idle: Notify::new(),
            inflight: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().jobs.len() >= self.max
    }

    /// Whether the next job gets to a handler before its sender could miss a word about it.
    pub(crate) fn is_quick(&self, now: Instant) -> bool {
        self.lock().is_quick(self.workers, now)
    }

    /// Adds a job, or gives it back when the backlog is full. Whoever comes back must be told: the last worker got stuck
    /// since [`is_quick`](Self::is_quick) said yes.
    pub(crate) fn push(&self, mut job: Job, now: Instant) -> Result<Option<Untold>, Box<Job>> {
        let mut backlog = self.lock();
        if backlog.jobs.len() >= self.max {
            return Err(Box::new(job));
        }
        let untold = if backlog.is_quick(self.workers, now) { None } else { job.tell() };
        backlog.jobs.push_back(job);
        drop(backlog);
        self.added.notify_one();
        Ok(untold)
    }

    /// A worker's handler waits for something, until the guard is dropped. If no other worker is left for the backlog,
    /// its senders must be told.
    pub(crate) fn waits(&self) -> (Waits<'_>, Vec<Untold>) {
        let mut backlog = self.lock();
        backlog.waiting += 1;
        let untold = if backlog.waiting < self.workers { Vec::new() } else { backlog.untold() };
        (Waits(self), untold)
    }

    /// A handler blocked its thread: for a while every sender is told at once, and those of the backlog now.
    pub(crate) fn blocked(&self, now: Instant) -> Vec<Untold> {
        let mut backlog = self.lock();
        backlog.blocking_until = Some(now + BLOCKING);
        backlog.untold()
    }

    /// The next job, waiting for one.
    pub(crate) async fn pop(&self) -> (Job, InFlight<'_>) {
        loop {
            let added = self.added.notified();
            {
                let mut backlog = self.lock();
                if let Some(job) = backlog.jobs.pop_front() {
                    self.inflight.fetch_add(1, Ordering::AcqRel);
                    // A notification wakes one worker; several jobs may have come for it.
                    if !backlog.jobs.is_empty() {
                        self.added.notify_one();
                    }
                    return (job, InFlight(self));
                }
            }
            added.await;
        }
    }

    /// Other work begins that closing is to wait for.
    pub(crate) fn enter(&self) {
        self.inflight.fetch_add(1, Ordering::AcqRel);
    }

    /// Work is over.
    pub(crate) fn leave(&self) {
        if self.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.lock().jobs.len(), self.inflight.load(Ordering::Acquire))
    }

    /// Waits until nothing is queued or at work, or the deadline; how many are left.
    pub(crate) async fn drained(&self, deadline: Instant) -> usize {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            let (queued, inflight) = self.counts();
            if queued + inflight == 0 || timeout_at(deadline, idle).await.is_err() {
                return queued + inflight;
            }
        }
    }

    /// Takes out what no worker will handle any more.
    pub(crate) fn take_all(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.lock().jobs)
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, is_told: bool) -> Job {
        let envelope = serde_json::from_value(serde_json::json!({"message_id": id})).unwrap();
        Job {
            envelope: Arc::new(envelope),
            source: Source::Inbox,
            body_sha256: String::new(),
            attempt: 1,
            is_told,
        }
    }

    fn ids(untold: impl IntoIterator<Item = Untold>) -> Vec<String> {
        untold.into_iter().map(|untold| untold.envelope.message_id.clone()).collect()
    }

    #[test]
    fn the_last_worker_that_waits_lets_the_backlog_be_told_once() {
        let (queue, now) = (JobQueue::new(10, 2), Instant::now());
        assert!(queue.push(job("a", false), now).unwrap().is_none());
        queue.push(job("b", true), now).unwrap();
        let (first, untold) = queue.waits();
        assert!(untold.is_empty() && queue.is_quick(now), "a worker is left");
        let (_second, untold) = queue.waits();
        assert_eq!((ids(untold), queue.is_quick(now)), (vec!["a".to_owned()], false));
        assert_eq!(ids(queue.push(job("c", false), now).unwrap()), ["c"]);
        drop(first);
        assert!(queue.is_quick(now));
        assert!(ids(queue.waits().1).is_empty(), "told before");
    }

    #[test]
    fn after_a_handler_that_blocks_everybody_is_told_for_a_while() {
        let (queue, now) = (JobQueue::new(10, 2), Instant::now());
        queue.push(job("a", false), now).unwrap();
        assert_eq!(ids(queue.blocked(now)), ["a"]);
        assert!(!queue.is_quick(now));
        assert!(queue.is_quick(now + BLOCKING));
    }
}
