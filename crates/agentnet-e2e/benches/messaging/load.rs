//! Callers that keep a number of operations in flight, and what they saw.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{task::JoinSet, time::timeout};

/// No single operation takes that long, nor does what is left of a turn when its time is over.
const STUCK: Duration = Duration::from_secs(60);

/// One turn of one side.
#[derive(Debug)]
pub struct Run {
    /// Operations that succeeded; none failed, that ends the run.
    pub done: usize,
    /// From the first start to the last end.
    pub took: Duration,
    /// How long each took.
    pub latencies: Vec<Duration>,
}

impl Run {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
}

/// Keeps `in_flight` operations going until `messages` were started or `turn` has passed.
pub async fn closed<F, Fut>(in_flight: usize, messages: usize, turn: Duration, operation: F) -> Result<Run>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let started = Instant::now();
    let begun = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let (begun, operation) = (Arc::clone(&begun), operation.clone());
        callers.spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < turn && begun.fetch_add(1, Ordering::Relaxed) < messages {
                let start = Instant::now();
                operation().await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    collect(started, turn, callers).await
}

/// Starts `per_second` operations a second, whatever becomes of the earlier ones. Latencies count from when an
/// operation was due, so that a stall isn't hidden by what it delays.
pub async fn paced<F, Fut>(per_second: u32, time: Duration, operation: F) -> Result<Run>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let mut callers = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    while started.elapsed() < time {
        let due = ticks.tick().await.into_std();
        let running = operation();
        callers.spawn(async move {
            running.await?;
            anyhow::Ok(vec![due.elapsed()])
        });
    }
    collect(started, time, callers).await
}

async fn collect(
    started: Instant,
    turn: Duration,
    mut callers: JoinSet<Result<Vec<Duration>>>,
) -> Result<Run> {
    let mut latencies = Vec::new();
    let all = async {
        while let Some(ended) = callers.join_next().await {
            latencies.extend(ended??);
        }
        anyhow::Ok(())
    };
    timeout(turn + STUCK, all).await.context("operations hang")??;
    Ok(Run { done: latencies.len(), took: started.elapsed(), latencies })
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The latency that `percent` of all stay below.
pub fn percentile(latencies: &mut [Duration], percent: usize) -> Duration {
    latencies.sort();
    latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default()
}
