//! `agent_token_keys`: the keys that sign access tokens, sealed by whoever writes them here.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// Most keys at once; with the default times there are two.
const MOST: i64 = 64;
/// Of the advisory lock under which keys are made.
const LOCK: i64 = 0x6167_746b_6579;

/// A key.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct TokenKeyRow {
    /// Its name in the head of tokens.
    pub kid: String,
    /// The public key, base64url.
    pub public_key: String,
    /// The secret one, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Until when it signs.
    pub signs_until: OffsetDateTime,
    /// Until when what it signed verifies.
    pub not_after: OffsetDateTime,
}

/// The keys that verify something now, the latest first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, now: Timestamp) -> Result<Vec<TokenKeyRow>, StoreError> {
    sqlx::query_as(
        "SELECT kid, public_key, sealed, created_at, signs_until, not_after FROM agent_token_keys \
         WHERE not_after > $1 ORDER BY created_at DESC, kid LIMIT $2",
    )
    .bind(now.to_offset())
    .bind(MOST)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_token_keys.list"))
}

/// Until the transaction ends no other replica makes a key.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn lock(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_token_keys.lock"))
}

/// Keeps a key.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add(tx: &mut PgConnection, key: &TokenKeyRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_token_keys (kid, public_key, sealed, created_at, signs_until, not_after) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&key.kid)
    .bind(&key.public_key)
    .bind(&key.sealed)
    .bind(key.created_at)
    .bind(key.signs_until)
    .bind(key.not_after)
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_token_keys.add"))
}

/// Deletes keys that verify nothing any more; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget_expired(db: impl PgExecutor<'_>) -> Result<u64, StoreError> {
    sqlx::query("DELETE FROM agent_token_keys WHERE not_after < now() - interval '1 day'")
        .execute(db)
        .await
        .map(|done| done.rows_affected())
        .map_err(StoreError::query("agent_token_keys.forget_expired"))
}
