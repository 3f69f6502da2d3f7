//! Writes presence to Postgres in batches: descriptions that changed, when sessions were last heard of, goodbyes.
//!
//! Memory is what counts for lists; the rows serve search, other services, and the next start.

use std::sync::Arc;
use std::time::Duration;

use agentnet_store::{StoreError, sessions};
use tokio_util::sync::CancellationToken;

use crate::app::{App, chain};
use crate::events::{OfflineReason, announce_offline};
use crate::presence::Pending;

/// Rows per statement.
const BATCH: usize = 1_000;
/// Restored sessions and goodbyes are written this soon, with whatever else has come up until then.
const URGENT_AFTER: Duration = Duration::from_millis(50);

/// Flushes until told to stop, then once more.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = app.presence.urgent.notified() => tokio::time::sleep(URGENT_AFTER).await,
            () = tokio::time::sleep(app.config.flush_interval) => {}
        }
        flush(&app).await;
    }
    flush(&app).await;
}

/// Writes everything that waits. `false` when Postgres refused; what wasn't written waits for the next time.
pub(crate) async fn flush(app: &App) -> bool {
    loop {
        let pending = app.presence.take_pending(BATCH);
        let taken = pending.changed.len() + pending.touched.len() + pending.ended.len();
        if taken == 0 {
            return true;
        }
        let started = std::time::Instant::now();
        let written = write(app, &pending).await;
        let timer = app.stats.timer("db.persist_presence");
        timer.record(started.elapsed());
        if let Err(error) = written {
            timer.record_error();
            app.failures.log("db.persist_presence", &chain(&error));
            app.presence.put_back(&pending);
            return false;
        }
        metrics::counter!("agentnet_registry_presence_rows_total").increment(taken as u64);
    }
}

async fn write(app: &App, pending: &Pending) -> Result<(), StoreError> {
    let db = app.store.pool();
    if !pending.changed.is_empty() {
        sessions::write(db, &pending.changed).await?;
    }
    if !pending.touched.is_empty() {
        let lost = sessions::touch(db, &pending.touched).await?;
        // Somebody ended them in error; the next flush writes them again.
        app.presence.rewrite(&lost);
    }
    if !pending.ended.is_empty() {
        let ended = sessions::end(db, &pending.ended).await?;
        announce_offline(app, ended, OfflineReason::Goodbye).await;
    }
    Ok(())
}
