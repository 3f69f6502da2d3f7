//! `agent_keys` and `agent_auth_nonces`: which key speaks for an account, and which signed requests were used.

use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;

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

/// A key of an account and when it spoke for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The account.
    pub account_id: String,
    /// The key, base64url without padding.
    pub public_key: String,
    /// From when on.
    pub bound_at: Timestamp,
    /// Until when; `None` while it does.
    pub ended_at: Option<Timestamp>,
    /// [`ROTATED`] or [`REVOKED`].
    pub ended_as: Option<String>,
}

impl KeySpan {
    /// Whether it speaks for the account now.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// [`KeySpan::ended_as`] of a key whose place another one took.
pub const ROTATED: &str = "rotated";
/// [`KeySpan::ended_as`] of a key that was taken out of use.
pub const REVOKED: &str = "revoked";

type SpanColumns = (String, String, OffsetDateTime, Option<OffsetDateTime>, Option<String>);

fn span((account_id, public_key, bound_at, ended_at, ended_as): SpanColumns) -> KeySpan {
    let (bound_at, ended_at) = (bound_at.into(), ended_at.map(Timestamp::from));
    KeySpan { account_id, public_key, bound_at, ended_at, ended_as }
}

/// Every key that the accounts have and had, of each account the latest first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn history(db: impl PgExecutor<'_>, account_ids: &[&str]) -> Result<Vec<KeySpan>, StoreError> {
    sqlx::query_as::<_, SpanColumns>(
        "SELECT account_id, public_key, bound_at, revoked_at, ended_as FROM agent_keys WHERE account_id = ANY($1) \
         ORDER BY account_id, bound_at DESC, public_key",
    )
    .bind(account_ids)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(span).collect())
    .map_err(StoreError::query("agent_keys.history"))
}

/// Every account that the key speaks and spoke for, active ones first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn spans_of(db: impl PgExecutor<'_>, public_key: &str) -> Result<Vec<KeySpan>, StoreError> {
    sqlx::query_as::<_, SpanColumns>(
        "SELECT account_id, public_key, bound_at, revoked_at, ended_as FROM agent_keys WHERE public_key = $1 \
         ORDER BY revoked_at NULLS FIRST, bound_at DESC, account_id",
    )
    .bind(public_key)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(span).collect())
    .map_err(StoreError::query("agent_keys.spans_of"))
}

/// Until the transaction ends nobody else who calls this binds the key.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn lock(tx: &mut PgConnection, public_key: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(public_key)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_keys.lock"))
}

/// Ends a key; whether anything changed. One that was rotated out may still be revoked, and keeps its time then.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end(
    tx: &mut PgConnection,
    account_id: &str,
    public_key: &str,
    ended_as: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "UPDATE agent_keys SET revoked_at = coalesce(revoked_at, greatest($4, bound_at)), ended_as = $3 \
         WHERE account_id = $1 AND public_key = $2 AND ended_as IS DISTINCT FROM 'revoked' \
           AND (revoked_at IS NULL OR $3 = 'revoked')",
    )
    .bind(account_id)
    .bind(public_key)
    .bind(ended_as)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_keys.end"))
}
