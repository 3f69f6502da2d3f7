//! `agent_enrolment_tokens`: leave for unknown keys to register. Only hashes are kept.

use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::StoreError;

/// Rows removed by one step.
const STEP: i64 = 5_000;

/// A token to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// The account without a key that it is for.
    pub account_id: Option<&'a str>,
    /// For people.
    pub note: &'a str,
    /// Who made it.
    pub created_by: Option<&'a str>,
    /// How many keys it lets in.
    pub uses: i32,
    /// How long it is good.
    pub lasts: Duration,
}

/// Keeps a token; returns until when it is good.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create(
    db: impl PgExecutor<'_>,
    token: &NewToken<'_>,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let expires_at = now.saturating_add(token.lasts);
    sqlx::query(
        "INSERT INTO agent_enrolment_tokens (token_sha256, account_id, note, created_by, created_at, expires_at, \
         uses_left) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&token.token_sha256[..])
    .bind(token.account_id)
    .bind(token.note)
    .bind(token.created_by)
    .bind(now.to_offset())
    .bind(expires_at.to_offset())
    .bind(token.uses)
    .execute(db)
    .await
    .map(|_| expires_at)
    .map_err(StoreError::query("agent_enrolment_tokens.create"))
}

/// Uses a token once, for a new account, or for the existing one it was made for. `false` when it is none that may be
/// used for that. Undone with the transaction.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn redeem(
    tx: &mut PgConnection,
    token_sha256: &[u8; 32],
    account_id: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "UPDATE agent_enrolment_tokens SET uses_left = uses_left - 1 WHERE token_sha256 = $1 \
         AND account_id IS NOT DISTINCT FROM $2 AND expires_at > $3 AND uses_left > 0",
    )
    .bind(&token_sha256[..])
    .bind(account_id)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_enrolment_tokens.redeem"))
}

/// Deletes tokens that nobody can use any more; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget_expired(pool: &PgPool) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_enrolment_tokens WHERE token_sha256 IN (SELECT token_sha256 FROM agent_enrolment_tokens \
         WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_enrolment_tokens.forget_expired"))
}
