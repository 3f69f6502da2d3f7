//! `agent_connections`: who the auth callout lets in, and what it has to know for that.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// Most capabilities of one account that count.
const MAX_CAPABILITIES: i64 = 256;
/// Expired rows that one step deletes.
const STEP: i64 = 5_000;

/// What the network knows about a key that was proved.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct KeyStanding {
    /// The account it is or was bound to.
    pub account_id: String,
    /// `rotated` or `revoked` once it speaks for the account no more.
    pub ended_as: Option<String>,
    /// Until when it speaks for the account, of a key that a login bound.
    pub session_until: Option<OffsetDateTime>,
    /// The account's role: `agent`, `operator` or `gateway`.
    pub role: String,
    /// The account's status: `active`, `suspended`, ...
    pub status: String,
    /// What the account may receive: what it or one of its sessions online registered, as far as that isn't restricted,
    /// and the restricted capabilities it was granted.
    pub capabilities: Vec<String>,
}

#[derive(FromRow)]
struct Row {
    public_key: String,
    #[sqlx(flatten)]
    standing: KeyStanding,
}

/// The standing of keys (base64url); one that was never bound is missing. A key of several accounts, which only open and
/// signed mode allow, counts for the one it was bound to last.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn standing_of_keys(
    db: impl PgExecutor<'_>,
    public_keys: &[&str],
) -> Result<HashMap<String, KeyStanding>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT k.public_key, a.account_id, k.ended_as, k.expires_at AS session_until, a.role, a.status, \
             coalesce(c.names, '{}') AS capabilities \
         FROM unnest($1::text[]) AS asked (public_key) \
         CROSS JOIN LATERAL (SELECT * FROM agent_keys WHERE public_key = asked.public_key \
             ORDER BY revoked_at IS NULL DESC, bound_at DESC, account_id LIMIT 1) k \
         JOIN agent_accounts a USING (account_id) \
         CROSS JOIN LATERAL (SELECT array_agg(name) AS names FROM ( \
             SELECT name FROM ( \
                 SELECT jsonb_array_elements_text(a.capabilities) AS name \
                 UNION SELECT jsonb_array_elements_text(s.metadata -> 'capabilities') FROM agent_sessions s \
                     WHERE s.account_id = a.account_id AND s.status = 'online' \
                     AND jsonb_typeof(s.metadata -> 'capabilities') = 'array' \
             ) told WHERE NOT EXISTS (SELECT FROM agent_restricted_capabilities r WHERE r.capability = told.name) \
             UNION SELECT capability FROM agent_capability_grants g WHERE g.account_id = a.account_id \
             LIMIT $2) few) c",
    )
    .bind(public_keys)
    .bind(MAX_CAPABILITIES)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_connections.standing"))?;
    Ok(rows.into_iter().map(|row| (row.public_key, row.standing)).collect())
}

/// A connection that is about to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The nats-server.
    pub server_id: String,
    /// Its number for the connection.
    pub client_id: i64,
    /// The key, base64url.
    pub public_key: String,
    /// The key's account, if it has one.
    pub account_id: Option<String>,
    /// How long it may last.
    pub lifetime: Duration,
}

/// Notes connections, so that they can be ended.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn note(db: impl PgExecutor<'_>, admitted: &[Admitted]) -> Result<(), StoreError> {
    let servers: Vec<&str> = admitted.iter().map(|a| a.server_id.as_str()).collect();
    let clients: Vec<i64> = admitted.iter().map(|a| a.client_id).collect();
    let keys: Vec<&str> = admitted.iter().map(|a| a.public_key.as_str()).collect();
    let accounts: Vec<Option<&str>> = admitted.iter().map(|a| a.account_id.as_deref()).collect();
    let lifetimes: Vec<f64> = admitted.iter().map(|a| a.lifetime.as_secs_f64()).collect();
    // Two requests about one connection in a batch would be two rows of one key.
    sqlx::query(
        "INSERT INTO agent_connections (server_id, client_id, public_key, account_id, admitted_at, expires_at) \
         SELECT DISTINCT ON (server_id, client_id) server_id, client_id, public_key, account_id, now(), \
             now() + make_interval(secs => lifetime) \
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::float8[]) \
             AS t (server_id, client_id, public_key, account_id, lifetime) \
         ON CONFLICT (server_id, client_id) DO UPDATE SET public_key = excluded.public_key, \
             account_id = excluded.account_id, admitted_at = excluded.admitted_at, expires_at = excluded.expires_at",
    )
    .bind(servers)
    .bind(clients)
    .bind(keys)
    .bind(accounts)
    .bind(lifetimes)
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_connections.note"))
}

/// A connection: the nats-server, and its number there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, FromRow)]
pub struct ConnectionId {
    /// The nats-server.
    pub server_id: String,
    /// Its number for the connection.
    pub client_id: i64,
}

/// The connections of an account, or only those that were made with one key of it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn of_account(
    db: impl PgExecutor<'_>,
    account_id: &str,
    public_key: Option<&str>,
) -> Result<Vec<ConnectionId>, StoreError> {
    sqlx::query_as(
        "SELECT server_id, client_id FROM agent_connections \
         WHERE expires_at > now() AND CASE WHEN $2::text IS NOT NULL THEN public_key = $2 ELSE account_id = $1 END",
    )
    .bind(account_id)
    .bind(public_key)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_connections.of_account"))
}

/// Forgets connections that have been ended.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget(db: impl PgExecutor<'_>, ended: &[ConnectionId]) -> Result<(), StoreError> {
    let servers: Vec<&str> = ended.iter().map(|c| c.server_id.as_str()).collect();
    let clients: Vec<i64> = ended.iter().map(|c| c.client_id).collect();
    sqlx::query(
        "DELETE FROM agent_connections c USING unnest($1::text[], $2::bigint[]) AS t (server_id, client_id) \
         WHERE c.server_id = t.server_id AND c.client_id = t.client_id",
    )
    .bind(servers)
    .bind(clients)
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_connections.forget"))
}

/// Forgets a step of connections whose time is over; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget_expired(db: impl PgExecutor<'_>) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_connections WHERE ctid = ANY (ARRAY( \
             SELECT ctid FROM agent_connections WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED))",
    )
    .bind(STEP)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_connections.forget_expired"))
}
