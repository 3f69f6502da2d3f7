//! Tells the registry until when everything is committed, and notices what left the stream without being committed.
//!
//! Any replica may look at any time: the stream holds what isn't committed yet, and what the persisters committed is
//! noted in their own transactions (`agentnet_store::progress`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet_proto::{Timestamp, subject::STREAM};
use agentnet_service::{CancellationToken, chain};
use agentnet_store::{
    Store,
    progress::{self, Progress, StreamState},
};
use async_nats::jetstream::Context;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often. A redelivery waits that long at most for what is committed to be known.
const EVERY: Duration = Duration::from_millis(250);
/// Longest one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// When the persister says that it isn't well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmConfig {
    /// `PERSISTER_MAX_LAG_SECONDS`: age of the oldest message that isn't committed. 30 s.
    pub max_lag: Duration,
    /// `PERSISTER_GAP_ALARM_SECONDS`: how long a hole in the stream is shown after it was found. 1 h.
    pub gap_alarm: Duration,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self { max_lag: Duration::from_secs(30), gap_alarm: Duration::from_secs(3600) }
    }
}

/// What the last look found.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Age of the oldest message that isn't committed.
    pub lag: Duration,
    /// Sequences that left the stream without having been committed, ever.
    pub missing: u64,
    /// The newest of them.
    pub missing_last: Option<String>,
    /// How long ago these were found.
    pub missing_age: Option<Duration>,
}

/// The last look, shared with health checks.
#[derive(Clone, Debug)]
pub(crate) struct Board(Arc<Mutex<(Instant, Option<Seen>)>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), None))))
    }
}

impl Board {
    /// When and what.
    pub(crate) fn last(&self) -> (Instant, Option<Seen>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Some(seen));
    }

    /// Whether all is well.
    pub(crate) fn check(&self, limits: AlarmConfig) -> Result<(), String> {
        let (at, seen) = self.last();
        let since = at.elapsed();
        if since > limits.max_lag {
            return Err(format!("the stream's progress could not be noted for {} s", since.as_secs()));
        }
        let Some(seen) = seen else { return Ok(()) };
        if seen.lag > limits.max_lag {
            return Err(format!("{} s behind the stream: is Postgres slow or down?", seen.lag.as_secs()));
        }
        if seen.missing_age.is_some_and(|age| age + since < limits.gap_alarm) {
            return Err(format!(
                "{} messages left the stream without being stored, last {}: was it purged or damaged?",
                seen.missing,
                seen.missing_last.as_deref().unwrap_or("-")
            ));
        }
        Ok(())
    }
}

/// Looks until told to stop.
pub(crate) async fn watch(jetstream: Context, store: Store, board: Board, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looked = timeout(LOOK_LIMIT, look(&jetstream, &store)).await;
        let error = match looked {
            Ok(Ok(seen)) => {
                metrics::gauge!("agentnet_persister_lag_seconds").set(seen.lag.as_secs_f64());
                metrics::gauge!("agentnet_persister_missing_messages").set(seen.missing as f64);
                board.put(seen);
                failing = false;
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(
                cause = error,
                "the stream's progress can't be noted; nothing is delivered again meanwhile"
            );
        }
    }
}

/// Reads the stream's state, then notes it: in that order, see [`progress::note`].
pub(crate) async fn look(jetstream: &Context, store: &Store) -> Result<Seen, String> {
    let answer: Answer =
        jetstream.request(format!("STREAM.INFO.{STREAM}"), &()).await.map_err(|error| error.to_string())?;
    let Answer { created: Some(created), state: Some(state), ts: Some(now) } = answer else {
        return Err("the stream is missing, or nats-server is older than 2.10".to_owned());
    };
    let committed_at = match state.messages {
        0 => now,
        _ => state.first_ts.saturating_sub(Duration::from_micros(1)).min(now),
    };
    let stream = StreamState {
        stream: STREAM,
        created_at: created,
        first_seq: state.first_seq.max(1),
        committed_at,
        now,
    };
    let mut connection = store.pool().acquire().await.map_err(|error| error.to_string())?;
    let noted = progress::note(&mut connection, &stream).await.map_err(|error| chain(&error))?;
    if let Some(found) = &noted.found {
        tracing::error!(
            sequences = found,
            missing = noted.missing,
            "messages left the stream without being stored: was it purged or damaged?"
        );
    }
    Ok(seen(noted, u64::try_from(now.duration_since(committed_at)).unwrap_or(0)))
}

fn seen(noted: Progress, lag_ms: u64) -> Seen {
    Seen {
        lag: Duration::from_millis(lag_ms),
        missing: noted.missing,
        missing_last: noted.missing_last,
        missing_age: noted.missing_age.and_then(|age| Duration::try_from_secs_f64(age).ok()),
    }
}

/// What async-nats's own type leaves out: the server's clock.
#[derive(Deserialize)]
struct Answer {
    created: Option<Timestamp>,
    state: Option<State>,
    ts: Option<Timestamp>,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    first_seq: u64,
    first_ts: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well(seen: Seen) -> bool {
        let board = Board::default();
        board.put(seen);
        board.check(AlarmConfig::default()).is_ok()
    }

    #[test]
    fn what_is_alarming() {
        let fine = Seen { lag: Duration::ZERO, missing: 0, missing_last: None, missing_age: None };
        assert!(well(fine.clone()));
        assert!(!well(Seen { lag: Duration::from_secs(31), ..fine.clone() }));
        let hole = |age| Seen { missing: 3, missing_age: Some(Duration::from_secs(age)), ..fine.clone() };
        assert!(!well(hole(10)));
        assert!(well(hole(3601)), "it stays in the figures and leaves the health check");
    }

    #[test]
    fn the_servers_answer() {
        let text = r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","created":"2026-02-21T08:00:00.123456789Z",
            "state":{"messages":0,"first_seq":0,"first_ts":"0001-01-01T00:00:00Z"},"ts":"2026-02-21T09:00:00Z"}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(answer.created.unwrap().to_string(), "2026-02-21T08:00:00.123456Z");
    }
}
