//! A connection in secure mode is let in for a time. Before that is over the node connects anew, subscribes there, and
//! only then lets the older connection go: nothing is lost in between.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Inner,
    tasks::{Feeds, Subscriptions},
};
use crate::{error::Error, registry::REGISTER_TIMEOUT};

/// The share of its time that a connection is used for, at least and at most: agents that came together don't go together.
const SHARE: std::ops::RangeInclusive<f64> = 0.55..=0.7;
/// The share of its time that an older connection may take to hear the answers to what was asked on it.
const GRACE: f64 = 0.1;
/// Of what is left when a renewal failed, the share after which the next is tried.
const RETRY: f64 = 0.05;
/// How long the server may take to confirm the subscriptions.
const CONFIRM: Duration = Duration::from_secs(5);

/// Renews until the connection is closed. After a loss of it the time begins anew.
pub(super) async fn run(inner: Arc<Inner>, feeds: Arc<Feeds>, lifetime: Duration) {
    let mut state = inner.connection.state();
    let mut reconnects = state.borrow_and_update().reconnects;
    let mut at = Instant::now() + used(lifetime);
    loop {
        tokio::select! {
            () = sleep_until(at) => {}
            changed = state.changed() => {
                if changed.is_err() || state.borrow_and_update().closed {
                    return;
                }
                let current = state.borrow().reconnects;
                if current != reconnects {
                    reconnects = current;
                    at = Instant::now() + used(lifetime);
                }
                continue;
            }
        }
        at = Instant::now() + lifetime.mul_f64(RETRY);
        // Coming back is a renewal as well.
        if !inner.connection.is_connected() {
            continue;
        }
        match renew(&inner, &feeds, lifetime).await {
            Ok(()) => at = Instant::now() + used(lifetime),
            Err(error) => tracing::warn!(%error, "the connection couldn't be renewed yet; trying on"),
        }
    }
}

async fn renew(inner: &Arc<Inner>, feeds: &Feeds, lifetime: Duration) -> Result<(), Error> {
    // Not while the node goes or comes: what it takes must be the same on both connections.
    let _switching = inner.switching.lock().await;
    let connection = &inner.connection;
    let fresh = connection.fresh().await?;
    let (account, checks) = (&inner.account, inner.auth.checks());
    let subscriptions =
        Subscriptions::open_on(connection, &fresh.client, account, feeds.heard(), inner.is_online(), checks)
            .await?;
    let observers = inner.observers.renew(connection, &fresh.client).await?;
    connection.round_trip_of(&fresh.client, CONFIRM).await?;
    feeds.renewed(subscriptions).await;
    let older = connection.switch_to(fresh);
    drop(observers);
    tracing::debug!(account = %inner.account, "connection renewed");
    let (grace, cancel) = (lifetime.mul_f64(GRACE).min(REGISTER_TIMEOUT), inner.cancel.clone());
    tokio::spawn(async move {
        cancel.run_until_cancelled(sleep(grace)).await;
        // Ends its subscriptions, gives what had arrived, and closes it.
        let _ = older.drain().await;
    });
    Ok(())
}

fn used(lifetime: Duration) -> Duration {
    lifetime.mul_f64(rand::random_range(SHARE))
}
