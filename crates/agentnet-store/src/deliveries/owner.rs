//! Which replica delivers again to a recipient. Leases would do without; windows and rates of one recipient wouldn't.

use std::time::Duration;

use sqlx::PgExecutor;

use crate::StoreError;

/// Makes `replica` the recipient's owner for that long, unless another one is. Renews it too.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn own(
    db: impl PgExecutor<'_>,
    recipient: &str,
    replica: &str,
    lasts: Duration,
) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO agent_redelivery_owners AS o (recipient, replica, until) \
         VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) \
         ON CONFLICT (recipient) DO UPDATE SET replica = excluded.replica, until = excluded.until \
         WHERE o.replica = excluded.replica OR o.until < clock_timestamp()",
    )
    .bind(recipient)
    .bind(replica)
    .bind(lasts.as_secs_f64())
    .execute(db)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_redelivery_owners.own"))
}

/// Ends the ownership.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn release(db: impl PgExecutor<'_>, recipient: &str, replica: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM agent_redelivery_owners WHERE recipient = $1 AND replica = $2")
        .bind(recipient)
        .bind(replica)
        .execute(db)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_redelivery_owners.release"))
}

/// Removes what replicas left behind that ended without a word; how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn prune(db: impl PgExecutor<'_>) -> Result<u64, StoreError> {
    sqlx::query("DELETE FROM agent_redelivery_owners WHERE until < clock_timestamp() - interval '1 minute'")
        .execute(db)
        .await
        .map(|done| done.rows_affected())
        .map_err(StoreError::query("agent_redelivery_owners.prune"))
}
