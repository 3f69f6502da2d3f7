//! What every handler works with.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentnet_proto::ids::SharedIds;
use agentnet_proto::{ErrorCode, RpcError, SharedClock, Timestamp};
pub(crate) use agentnet_service::chain;
use agentnet_service::stats::Stats;
use agentnet_store::{Store, StoreError};
use async_nats::Client;
use tokio::sync::Semaphore;

use crate::blobs::Blobs;
use crate::cache::Caches;
use crate::config::Config;
use crate::enrolment::Enrolling;
use crate::presence::Presence;
use crate::restricted::Restricted;
use crate::suspended::Suspended;
use crate::tasks::Tasks;
use crate::users::Users;

/// Longest wait for Postgres of one step of a login, whose clients wait 5 s and which hashes a password in between.
pub(crate) const LOGIN_DEADLINE: Duration = Duration::from_secs(1);
/// Longest wait for Postgres of a request whose clients give up after 2 s.
pub(crate) const QUERY_DEADLINE: Duration = Duration::from_millis(1500);
/// The same for register, whose clients wait 5 s.
pub(crate) const REGISTER_DEADLINE: Duration = Duration::from_secs(3);
/// How long a registration waits for its turn. With [`REGISTER_DEADLINE`] it ends before its client gives up.
pub(crate) const REGISTER_TURN: Duration = Duration::from_millis(1500);
/// Room kept in an answer for what stands around its rows.
const FRAME: usize = 8_192;
/// A failing database fails every request; one log line per operation in this time is enough.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Everything the registry's parts share.
#[derive(Debug)]
pub struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) presence: Presence,
    pub(crate) caches: Caches,
    pub(crate) blobs: Blobs,
    pub(crate) suspended: Suspended,
    pub(crate) restricted: Restricted,
    pub(crate) enrolling: Enrolling,
    pub(crate) users: Users,
    pub(crate) tasks: Tasks,
    /// Registrations that work on Postgres at once: no more than it has connections for, so that those who wait do so in
    /// the order in which they came, and hear in time when it takes too long.
    pub(crate) registering: Semaphore,
    pub(crate) ids: SharedIds,
    pub(crate) clock: SharedClock,
    pub(crate) client: Client,
    pub(crate) stats: Stats,
    pub(crate) failures: FailureLog,
}

impl App {
    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Bytes that the rows of an answer may take.
    pub(crate) fn row_budget(&self) -> usize {
        self.client.max_payload().saturating_sub(FRAME)
    }

    /// Runs what needs Postgres, timed under `db.<operation>`, within `deadline`. Failure is `code` outside and a
    /// log line inside.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        deadline: Duration,
        code: ErrorCode,
        work: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, RpcError> {
        let started = Instant::now();
        let timer = self.stats.timer(operation);
        let ended = tokio::time::timeout(deadline, work).await;
        timer.record(started.elapsed());
        let cause = match ended {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Failed::Refused(error))) => return Err(error),
            Ok(Err(Failed::NotFound)) => return Err(ErrorCode::NotFound.into()),
            Ok(Err(Failed::Store(error))) => chain(&*error),
            Err(_) => format!("no answer from Postgres within {} s", deadline.as_secs_f64()),
        };
        timer.record_error();
        self.failures.log(operation, &cause);
        Err(code.into())
    }
}

/// Why the work of a request brought nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Postgres: retryable.
    Store(Arc<StoreError>),
    /// Nothing of that name or id.
    NotFound,
    /// The request itself is at fault.
    Refused(RpcError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<RpcError> for Failed {
    fn from(error: RpcError) -> Self {
        Self::Refused(error)
    }
}

/// Says once in a while that an operation fails, and how often it did.
#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    seen: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl FailureLog {
    pub(crate) fn log(&self, operation: &'static str, cause: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (logged_at, unlogged) = seen.entry(operation).or_insert((now, 0));
        let first = *logged_at == now;
        if !first && now.duration_since(*logged_at) < LOG_EVERY {
            *unlogged += 1;
            return;
        }
        let repeats = std::mem::take(unlogged);
        *logged_at = now;
        tracing::warn!(operation, cause, repeats, "failed");
    }
}
