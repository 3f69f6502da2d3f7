//! Tells of agents whose status changed, by their own word, because they came, or because they fell silent.

use std::sync::Arc;
use std::time::Duration;

use agentnet_store::{StoreError, agents};
use tokio_util::sync::CancellationToken;

use crate::app::{App, chain};
use crate::rpc::agents_at;

/// Between two looks. One replica looks at a time.
const EVERY: Duration = Duration::from_secs(1);
/// Most changes of one look.
const MOST: i64 = 2_000;

/// Looks until told to stop.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        let pause = EVERY.mul_f64(rand::random_range(0.8..=1.2));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = look(&app).await {
            app.failures.log("db.agent_statuses", &chain(&error));
        }
    }
}

async fn look(app: &App) -> Result<(), StoreError> {
    let failed = StoreError::query("agent_statuses.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    // While nobody can be heard, nobody may be said to have fallen silent.
    agents::tell_changes(&mut tx, agents_at(app), app.presence.may_judge(), MOST).await?;
    tx.commit().await.map_err(failed)
}
