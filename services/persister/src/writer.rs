//! Takes what is there and commits it, until Postgres has taken it.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{ErrorCode, SharedClock, subject::STREAM};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::{
    Store, StoreError,
    ingest::{self, Item, Taken, Verdict},
};
use async_nats::{Client, connection::State};
use sqlx::{Postgres, pool::PoolConnection};
use tokio::{
    sync::{Mutex, Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    counters::{Count, Handle},
    decode::refused_by_database,
    work::{Committed, Meta, Outcome, Work},
};

/// Longest a transaction may take. Postgres itself gives up on a statement sooner.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);
/// Longest the commit waits while the stream is told that it goes on.
const PROGRESS_LIMIT: Duration = Duration::from_millis(100);
/// Longest a batch waits for company while another one is committed.
const GATHER: Duration = Duration::from_millis(2);
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The committing stage.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    /// Most messages of a transaction.
    pub(crate) batch_max: usize,
    /// How often the stream hears that a batch is still being worked on.
    pub(crate) progress_every: Duration,
    /// Shared with the other writers; whoever waits at it takes all that is there.
    pub(crate) input: Arc<Mutex<mpsc::Receiver<Work>>>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) out: mpsc::Sender<Committed>,
    pub(crate) handle: Handle,
    /// Names this writer among those of the stream.
    pub(crate) replica: String,
    pub(crate) timer: Arc<agentnet_service::stats::Timer>,
    #[cfg(feature = "faulty")]
    pub(crate) acknowledges_before_commit: bool,
}

impl Writer {
    /// Commits until there is nothing more to come. While Postgres fails, retries, and gives up only at the soft
    /// deadline of a stop; what isn't committed then comes to another replica.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut connection = Connection { store: self.store.clone(), held: None };
        let items_max = items_max(self.batch_max);
        let mut taken = Vec::with_capacity(items_max);
        while let Some(under_way) = self.take(&mut taken, items_max).await {
            let (items, metas): (Vec<Item>, Vec<Meta>) =
                taken.drain(..).map(|work| (work.item, work.meta)).unzip();
            #[cfg(feature = "faulty")]
            if self.acknowledges_before_commit {
                self.acknowledge_then_commit(&mut connection, items, metas).await;
                continue;
            }
            let started = Instant::now();
            let outcomes = tokio::select! {
                biased;
                outcomes = self.commit(&mut connection, &items, &metas) => outcomes,
                () = shutdown.soft_deadline() => {
                    tracing::warn!(items = items.len(), "stopping without Postgres; left in the stream");
                    return;
                }
            };
            drop(under_way);
            self.timer.record(started.elapsed());
            metrics::histogram!("agentnet_persister_commit_seconds").record(started.elapsed().as_secs_f64());
            metrics::histogram!("agentnet_persister_batch_rows").record(items.len() as f64);
            let parts = metas.into_iter().zip(outcomes).collect();
            if self.out.send(Committed { at: self.clock.now(), parts }).await.is_err() {
                return;
            }
        }
    }

    /// Takes what is there, or `None` when there is nothing more to come. While another writer commits, what comes within
    /// [`GATHER`] is taken too: the disk is busy anyway, a statement costs nearly the same for one row as for ten, and a
    /// message and its receipt become one row where they meet in one batch.
    async fn take(&self, taken: &mut Vec<Work>, max: usize) -> Option<UnderWay> {
        let mut input = self.input.lock().await;
        if input.recv_many(taken, max).await == 0 {
            return None;
        }
        let deadline = sleep(GATHER);
        tokio::pin!(deadline);
        loop {
            // Before the question, so that no end is missed.
            let ended = self.commits.ended.notified();
            if taken.len() >= max || self.commits.under_way.load(Ordering::Acquire) == 0 {
                break;
            }
            let room = max - taken.len();
            tokio::select! {
                biased;
                more = input.recv_many(taken, room) => if more == 0 { break },
                () = ended => break,
                () = &mut deadline => break,
            }
        }
        Some(self.commits.begin())
    }

    /// The wrong order, see [`crate::Config::acknowledges_before_commit`].
    #[cfg(feature = "faulty")]
    async fn acknowledge_then_commit(&self, connection: &mut Connection, items: Vec<Item>, metas: Vec<Meta>) {
        let claimed = metas.into_iter().map(|meta| (meta, Outcome::Written(Verdict::Inserted)));
        let claimed = Committed { at: self.clock.now(), parts: claimed.collect() };
        if self.out.send(claimed).await.is_ok() {
            self.commit_all(connection, &items, &[]).await;
        }
    }

    /// Commits, telling the stream meanwhile that we are at it.
    async fn commit(&self, connection: &mut Connection, items: &[Item], metas: &[Meta]) -> Vec<Outcome> {
        let mut ticks = interval(self.progress_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let work = self.commit_all(connection, items, metas);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                outcomes = &mut work => return outcomes,
                // Without a connection the word would wait in a full queue, and the commit with it.
                _ = ticks.tick(), if self.client.connection_state() == State::Connected => {
                    let tell = async {
                        for ack in metas.iter().filter_map(|meta| meta.ack.as_ref()) {
                            ack.progress(&self.client).await;
                        }
                    };
                    let _ = timeout(PROGRESS_LIMIT, tell).await;
                }
            }
        }
    }

    /// One transaction if all goes well. A row whose content Postgres refuses is found by halving and goes to the
    /// quarantine, so that it neither blocks the others nor comes again.
    async fn commit_all(&self, connection: &mut Connection, items: &[Item], metas: &[Meta]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut open = transactions(items, self.batch_max);
        let mut retry = Retry::default();
        while let Some(range) = open.pop() {
            let Some(part) = items.get(range.clone()) else { continue };
            let metas = metas.get(range.clone()).unwrap_or_default();
            match connection.ingest(part, metas, &self.replica).await {
                Ok(verdicts) => {
                    retry.succeeded();
                    self.handle.add(Count::Batches, 1);
                    for (slot, verdict) in outcomes.iter_mut().skip(range.start).zip(verdicts) {
                        *slot = Some(Outcome::Written(verdict));
                    }
                }
                Err(error) if ingest::is_data_error(&error) && part.len() > 1 => {
                    let middle = range.start + part.len() / 2;
                    open.extend([middle..range.end, range.start..middle]);
                }
                Err(error) if ingest::is_data_error(&error) => {
                    if let (Some(item), Some(meta)) = (items.get(range.start), metas.first())
                        && let Some(slot) = outcomes.get_mut(range.start)
                    {
                        *slot = Some(self.refuse(connection, item, meta, &error, &mut retry).await);
                    }
                }
                Err(error) => {
                    self.handle.add(Count::Failures, 1);
                    retry.failed(&error).await;
                    // What takes too long as a whole may not in parts.
                    if ingest::is_too_slow(&error) && part.len() > 1 {
                        let middle = range.start + part.len() / 2;
                        open.extend([middle..range.end, range.start..middle]);
                    } else {
                        open.push(range);
                    }
                }
            }
        }
        // Every range ends in outcomes, so none is missing.
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Written(Verdict::Vanished))).collect()
    }

    async fn refuse(
        &self,
        connection: &mut Connection,
        item: &Item,
        meta: &Meta,
        error: &StoreError,
        retry: &mut Retry,
    ) -> Outcome {
        let detail = "the database refuses its content".to_owned();
        let outcome = Outcome::Refused { code: ErrorCode::InvalidField, detail };
        tracing::error!(subject = meta.subject, seq = meta.stream_seq, cause = %cause(error), "row refused; quarantined");
        let Some(row) = refused_by_database(item, &meta.subject, meta.stream_seq, error) else {
            tracing::error!(subject = meta.subject, "not even the quarantine takes it; dropped");
            return outcome;
        };
        let row = [Item::Quarantine(Box::new(row))];
        loop {
            match connection.ingest(&row, std::slice::from_ref(meta), &self.replica).await {
                Ok(_) => return outcome,
                Err(error) if ingest::is_data_error(&error) => {
                    tracing::error!(subject = meta.subject, cause = %cause(&error), "the quarantine refuses it; dropped");
                    return outcome;
                }
                Err(error) => retry.failed(&error).await,
            }
        }
    }
}

/// The commits of all writers.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    under_way: AtomicUsize,
    ended: Notify,
}

impl Commits {
    fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(self.clone())
    }
}

/// A commit, until dropped.
struct UnderWay(Arc<Commits>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_waiters();
    }
}

/// How many items are taken at once: as many messages as a transaction may have, each with the two receipts that fold
/// into its row. A commit costs the same however much is in it.
pub(crate) fn items_max(batch_max: usize) -> usize {
    batch_max.saturating_mul(3)
}

/// Cuts into ranges of at most `batch_max` messages; the first is the last, where it is popped from.
fn transactions(items: &[Item], batch_max: usize) -> Vec<Range<usize>> {
    let (mut start, mut messages) = (0, 0);
    let mut ranges = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if matches!(item, Item::Receipt(_)) {
            continue;
        }
        if messages == batch_max {
            ranges.push(start..place);
            (start, messages) = (place, 0);
        }
        messages += 1;
    }
    ranges.push(start..items.len());
    ranges.reverse();
    ranges
}

/// One connection, kept, so that its statements stay prepared; a new one after any failure that may be its fault.
#[derive(Debug)]
struct Connection {
    store: Store,
    held: Option<PoolConnection<Postgres>>,
}

impl Connection {
    async fn ingest(
        &mut self,
        items: &[Item],
        metas: &[Meta],
        replica: &str,
    ) -> Result<Vec<Verdict>, StoreError> {
        // All of one incarnation, but for the moment in which the stream was replaced.
        let created_at = metas.iter().rev().find_map(|meta| meta.stream_created);
        let place = |meta: &Meta| meta.stream_seq.filter(|_| meta.stream_created == created_at);
        let seqs: Vec<Option<u64>> = metas.iter().map(place).collect();
        let taken = created_at.map(|created_at| Taken { stream: STREAM, created_at, replica, seqs: &seqs });
        let mut connection = match self.held.take() {
            Some(connection) => connection,
            None => self.store.pool().acquire().await.map_err(StoreError::Unavailable)?,
        };
        let result =
            match timeout(COMMIT_LIMIT, ingest::ingest_taken(&mut connection, items, taken.as_ref())).await {
                Ok(result) => result,
                Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
            };
        match &result {
            Ok(_) => self.held = Some(connection),
            Err(error) if ingest::is_data_error(error) => self.held = Some(connection),
            // Closed with the transaction that may still be open on it.
            Err(_) => drop(connection.detach()),
        }
        result
    }
}

/// Pauses between attempts, one line in the log when trouble starts and one when it ends.
#[derive(Debug, Default)]
struct Retry {
    pause: Option<Duration>,
    since: Option<Instant>,
}

impl Retry {
    async fn failed(&mut self, error: &StoreError) {
        let pause = self.pause.map_or(PAUSE.0, |pause| (pause * 2).min(PAUSE.1));
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(%error, cause = %cause(error), "commit failed; nothing is acknowledged, trying on");
        }
        self.pause = Some(pause);
        sleep(pause).await;
    }

    fn succeeded(&mut self) {
        if let Some(since) = self.since.take() {
            tracing::info!(outage_ms = since.elapsed().as_millis(), "committing again");
        }
        self.pause = None;
    }
}

fn cause(error: &StoreError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use agentnet_proto::Timestamp;
    use agentnet_store::ingest::{Effect, QuarantineRow, ReceiptRow};

    use super::*;

    fn other() -> Item {
        let received_at = Timestamp::UNIX_EPOCH;
        Item::Quarantine(Box::new(QuarantineRow {
            subject: String::new(),
            body: bytes::Bytes::new(),
            headers: serde_json::Map::new(),
            code: "invalid_json",
            detail: String::new(),
            stream_seq: None,
            received_at,
        }))
    }

    fn receipt() -> Item {
        Item::Receipt(Box::new(ReceiptRow {
            needs_holder: false,
            body_sha256: None,
            message_id: "m".to_owned(),
            account_id: "a".to_owned(),
            session_tag: None,
            recipient: None,
            effect: Effect::Accepted,
            code: None,
            detail: None,
            received_at: Timestamp::UNIX_EPOCH,
        }))
    }

    #[test]
    fn receipts_stay_with_the_messages_before_them() {
        let items = [receipt(), other(), receipt(), other(), receipt(), other(), other(), receipt(), other()];
        assert_eq!(transactions(&items, 2), [8..9, 5..8, 0..5]);
        let only_receipts = [receipt(), receipt(), receipt()];
        assert_eq!(transactions(&only_receipts, 1), Vec::from([Range { start: 0, end: 3 }]));
    }
}
