//! The backlog between the inbox and the workers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentnet_proto::Envelope;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::Source;

/// An admitted message.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) source: Source,
    /// Lower-case hex SHA-256 of its body.
    pub(crate) body_sha256: String,
    pub(crate) attempt: u32,
}

/// First in, first out; bounded; workers take from it without holding a lock while they wait.
#[derive(Debug)]
pub(crate) struct JobQueue {
    jobs: Mutex<VecDeque<Job>>,
    max: usize,
    added: Notify,
    idle: Notify,
    inflight: AtomicUsize,
}

/// A job at work; dropping it says that the work is over.
pub(crate) struct InFlight<'a>(&'a JobQueue);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl JobQueue {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            max,
            added: Notify::new(),
            idle: Notify::new(),
            inflight: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().len() >= self.max
    }

    /// Adds a job, or gives it back when the backlog is full.
    pub(crate) fn push(&self, job: Job) -> Result<(), Box<Job>> {
        let mut jobs = self.lock();
        if jobs.len() >= self.max {
            return Err(Box::new(job));
        }
        jobs.push_back(job);
        drop(jobs);
        self.added.notify_one();
        Ok(())
    }

    /// The next job, waiting for one.
    pub(crate) async fn pop(&self) -> (Job, InFlight<'_>) {
        loop {
            let added = self.added.notified();
            {
                let mut jobs = self.lock();
                if let Some(job) = jobs.pop_front() {
                    self.inflight.fetch_add(1, Ordering::AcqRel);
                    // A notification wakes one worker; several jobs may have come for it.
                    if !jobs.is_empty() {
                        self.added.notify_one();
                    }
                    return (job, InFlight(self));
                }
            }
            added.await;
        }
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.lock().len(), self.inflight.load(Ordering::Acquire))
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
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
