//! `agent_keys` and `agent_auth_nonces`: which key speaks for an account, and which signed requests were used.

use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::{PgConnection, PgExecutor};

use crate::StoreError;

/// The key that speaks for the account, base64url without padding.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn active_key(db: impl PgExecutor<'_>, account_id: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT public_key FROM agent_keys WHERE account_id = $1 AND revoked_at IS NULL")
        .bind(account_id)
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_keys.active_key"))
}

/// Binds the first key of an account made in the same transaction.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn bind(
    tx: &mut PgConnection,
    account_id: &str,
    public_key: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, $2, $3)")
        .bind(account_id)
        .bind(public_key)
        .bind(now.to_offset())
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_keys.bind"))
}

/// Uses up a nonce for `ttl`; `false` when the account used it within that time already, on whatever replica.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn spend_nonce(
    tx: &mut PgConnection,
    account_id: &str,
    nonce: &str,
    ttl: Duration,
) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO agent_auth_nonces AS n (account_id, nonce, expires_at) \
         VALUES ($1, $2, now() + make_interval(secs => $3)) \
         ON CONFLICT (account_id, nonce) DO UPDATE SET expires_at = excluded.expires_at WHERE n.expires_at <= now()",
    )
    .bind(account_id)
    .bind(nonce)
    .bind(ttl.as_secs_f64())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_auth_nonces.spend"))
}
