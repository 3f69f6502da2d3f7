//! `agent_keys` and `agent_auth_nonces`: which keys speak for an account, and which signed requests were used.
//!
//! An account has one key of its own at most, and any number of session keys, which logins bound to it for a time.

use std::collections::HashMap;
use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// The account's own key, base64url without padding.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn active_key(db: impl PgExecutor<'_>, account_id: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT public_key FROM agent_keys WHERE account_id = $1 AND revoked_at IS NULL AND kind = 'own'",
    )
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
    /// When it was rotated out or revoked.
    pub ended_at: Option<Timestamp>,
    /// [`ROTATED`] or [`REVOKED`].
    pub ended_as: Option<String>,
    /// Until when it speaks for the account, of a session key; `None` for the account's own.
    pub expires_at: Option<Timestamp>,
    /// The gateway's account that holds it, of a session key.
    pub via: Option<String>,
}

impl KeySpan {
    /// Whether a login bound it.
    #[must_use]
    pub const fn is_session(&self) -> bool {
        self.expires_at.is_some()
    }

    /// Until when it spoke or speaks for the account: what ended it, or its time.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match (self.ended_at, self.expires_at) {
            (Some(ended), Some(expires)) => Some(ended.min(expires)),
            (ended, expires) => ended.or(expires),
        }
    }

    /// Whether it speaks for the account.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until().is_none_or(|until| now < until)
    }
}

/// [`KeySpan::ended_as`] of a key whose place another one took.
pub const ROTATED: &str = "rotated";
/// [`KeySpan::ended_as`] of a key that was taken out of use.
pub const REVOKED: &str = "revoked";

type SpanColumns = (
    String,
    String,
    OffsetDateTime,
    Option<OffsetDateTime>,
    Option<String>,
    Option<OffsetDateTime>,
    Option<String>,
);

const COLUMNS: &str = "account_id, public_key, bound_at, revoked_at, ended_as, expires_at, via";

fn span((account_id, public_key, bound_at, ended_at, ended_as, expires_at, via): SpanColumns) -> KeySpan {
    let (bound_at, ended_at) = (bound_at.into(), ended_at.map(Timestamp::from));
    let expires_at = expires_at.map(Timestamp::from);
    KeySpan { account_id, public_key, bound_at, ended_at, ended_as, expires_at, via }
}

/// Every key of their own that the accounts have and had, and those of `session_keys` that were bound to one of them; of
/// each account the latest first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn history(
    db: impl PgExecutor<'_>,
    account_ids: &[&str],
    session_keys: &[&str],
) -> Result<Vec<KeySpan>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM agent_keys WHERE account_id = ANY(").push_bind(account_ids);
    sql.push(") AND (kind = 'own' OR public_key = ANY(").push_bind(session_keys);
    sql.push(")) ORDER BY account_id, bound_at DESC, public_key");
    sql.build_query_as::<SpanColumns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(span).collect())
        .map_err(StoreError::query("agent_keys.history"))
}

/// The gateways that hold keys, by account and key; keys that no login bound are missing.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn vias(
    db: impl PgExecutor<'_>,
    keys: &[(&str, &str)],
) -> Result<HashMap<(String, String), String>, StoreError> {
    let (accounts, keys): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    sqlx::query_as::<_, (String, String, String)>(
        "SELECT DISTINCT account_id, public_key, via FROM unnest($1::text[], $2::text[]) AS asked (account_id, public_key) \
         JOIN agent_keys USING (account_id, public_key) WHERE kind = 'session' AND via IS NOT NULL",
    )
    .bind(accounts)
    .bind(keys)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(|(account, key, via)| ((account, key), via)).collect())
    .map_err(StoreError::query("agent_keys.vias"))
}

/// Every account that the key speaks and spoke for, active ones first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn spans_of(db: impl PgExecutor<'_>, public_key: &str) -> Result<Vec<KeySpan>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM agent_keys WHERE public_key = ").push_bind(public_key);
    sql.push(" ORDER BY revoked_at NULLS FIRST, bound_at DESC, account_id");
    sql.build_query_as::<SpanColumns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(span).collect())
        .map_err(StoreError::query("agent_keys.spans_of"))
}

/// A key that a login binds to an account for a time.
#[derive(Debug, Clone, Copy)]
pub struct SessionKey<'a> {
    /// The account.
    pub account_id: &'a str,
    /// The key, base64url without padding.
    pub public_key: &'a str,
    /// The login.
    pub sid: &'a str,
    /// The gateway's account that holds the key.
    pub via: Option<&'a str>,
    /// Until when it speaks for the account.
    pub expires_at: Timestamp,
}

/// Binds a session key, or lets one that is bound already last as long as this says. `false` for a key that is or was in
/// use for anything else; whoever calls this holds its [`lock`].
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn bind_session(
    tx: &mut PgConnection,
    key: &SessionKey<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO agent_keys AS k (account_id, public_key, bound_at, kind, expires_at, sid, via) \
         SELECT $1, $2, $3, 'session', $4, $5, $6 \
         WHERE NOT EXISTS (SELECT FROM agent_keys o WHERE o.public_key = $2 AND o.account_id <> $1) \
         ON CONFLICT (account_id, public_key) DO UPDATE \
         SET expires_at = excluded.expires_at, sid = excluded.sid, via = excluded.via \
         WHERE k.kind = 'session' AND k.revoked_at IS NULL AND k.expires_at > $3",
    )
    .bind(key.account_id)
    .bind(key.public_key)
    .bind(now.to_offset())
    .bind(key.expires_at.to_offset())
    .bind(key.sid)
    .bind(key.via)
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_keys.bind_session"))
}

/// Ends the session keys of logins, of each the `keep` excepted that were bound or prolonged last; returns the account and key of those that ended by
/// this.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end_sessions(
    tx: &mut PgConnection,
    sids: &[String],
    keep: i64,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    sqlx::query_as(
        "UPDATE agent_keys SET revoked_at = greatest($3, bound_at), ended_as = 'revoked' \
         WHERE (account_id, public_key) IN (SELECT account_id, public_key FROM ( \
             SELECT account_id, public_key, row_number() OVER (PARTITION BY sid ORDER BY expires_at DESC, bound_at DESC, public_key) AS n \
             FROM agent_keys WHERE kind = 'session' AND sid = ANY($1) AND revoked_at IS NULL AND expires_at > $3) live \
             WHERE n > $2) \
         RETURNING account_id, public_key",
    )
    .bind(sids)
    .bind(keep)
    .bind(now.to_offset())
    .fetch_all(tx)
    .await
    .map_err(StoreError::query("agent_keys.end_sessions"))
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
