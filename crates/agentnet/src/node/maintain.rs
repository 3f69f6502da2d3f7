//! What a node does by itself: presence, copies of what isn't confirmed, and what a reconnect asks for.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::Inner;
use crate::deadline::FAR;

/// How often the outbox is looked at while it isn't empty.
const TICK: Duration = Duration::from_millis(100);
/// Copies per look, so that a reconnect with a full outbox doesn't starve what is sent meanwhile.
const BATCH: usize = 256;
/// After a reconnect: when the registry is asked whether it still knows the session.
const VERIFY_AFTER: Duration = Duration::from_secs(2);

pub(super) async fn run(inner: Arc<Inner>) {
    let mut state = inner.connection.state();
    let mut reconnects = state.borrow_and_update().reconnects;
    let mut next_hello = Instant::now() + jittered(inner.heartbeat());
    let mut verify_at: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let books = [inner.outbox.next_due(), inner.receipts.next_due()].into_iter().flatten().min();
        let resend_at = books.map(|due| due.clamp(now + Duration::from_millis(5), now + TICK));
        let next = [Some(next_hello), verify_at, resend_at].into_iter().flatten().min().unwrap_or(next_hello);
        tokio::select! {
            () = sleep_until(next) => {}
            () = inner.wake.notified() => {}
            changed = state.changed() => {
                // The connection's event task ends with the connection.
                if changed.is_err() || state.borrow_and_update().closed {
                    return;
                }
            }
        }
        let now = Instant::now();
        let current = *state.borrow();
        if current.reconnects != reconnects {
            reconnects = current.reconnects;
            // News of keys and blocks may have been missed.
            inner.auth.forget_all();
            inner.blocks.changed();
            inner.invitations.wake(None);
            inner.outbox.all_due(now);
            inner.receipts.all_due(now);
            next_hello = now;
            verify_at = Some(now + jittered(VERIFY_AFTER));
        }
        if now >= next_hello {
            if inner.is_online()
                && let Err(error) = inner.hello().await
            {
                tracing::debug!(%error, "hello not sent");
            }
            next_hello = now + jittered(inner.heartbeat());
            // Right after a reconnect the registry may not be back: `verify_at` comes by itself.
            if verify_at.is_none() {
                refresh_blocks(&inner).await;
            }
        }
        if verify_at.is_some_and(|at| now >= at) {
            verify_at = None;
            refresh_blocks(&inner).await;
            if inner.is_online() && !inner.reregister_if_lost().await {
                verify_at = Some(Instant::now() + jittered(inner.heartbeat()));
            }
        }
        inner.resend_due(BATCH).await;
    }
}

async fn refresh_blocks(inner: &Inner) {
    if let Err(error) = inner.refresh_blocks().await {
        tracing::debug!(%error, "whom the account blocks couldn't be read; trying on");
    }
}

/// A little earlier each time, at random: agents that started together don't speak together.
fn jittered(interval: Duration) -> Duration {
    interval.min(FAR).mul_f64(rand::random_range(0.9..=1.0))
}
