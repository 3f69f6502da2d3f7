//! `agent_restricted_capabilities` and `agent_capability_grants`: who may serve what. A capability without a row is open.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgExecutor};

use crate::StoreError;

/// Most restricted capabilities that are listed, and accounts of one.
const MOST: i64 = 1_000;

/// A restricted capability.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Restricted {
    /// Its name.
    pub capability: String,
    /// Accounts that may serve it.
    pub granted: Vec<String>,
}

/// Restricts a capability. Doing it again changes nothing.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn restrict(
    db: impl PgExecutor<'_>,
    capability: &str,
    by: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_restricted_capabilities (capability, restricted_by, restricted_at) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING",
    )
    .bind(capability)
    .bind(by)
    .bind(now.to_offset())
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_restricted_capabilities.restrict"))
}

/// Opens a capability again; its grants go.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn open(db: impl PgExecutor<'_>, capability: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM agent_restricted_capabilities WHERE capability = $1")
        .bind(capability)
        .execute(db)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_restricted_capabilities.open"))
}

/// Lets an account serve a restricted capability. `false` when the capability isn't restricted.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn grant(
    db: impl PgExecutor<'_>,
    capability: &str,
    account_id: &str,
    by: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO agent_capability_grants AS g (capability, account_id, granted_by, granted_at) \
         SELECT capability, $2, $3, $4 FROM agent_restricted_capabilities WHERE capability = $1 \
         ON CONFLICT (capability, account_id) DO UPDATE SET granted_at = g.granted_at",
    )
    .bind(capability)
    .bind(account_id)
    .bind(by)
    .bind(now.to_offset())
    .execute(db)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_capability_grants.grant"))
}

/// Takes that back.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn revoke(db: impl PgExecutor<'_>, capability: &str, account_id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM agent_capability_grants WHERE capability = $1 AND account_id = $2")
        .bind(capability)
        .bind(account_id)
        .execute(db)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_capability_grants.revoke"))
}

/// The restricted capabilities by name; `only` narrows to one.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, only: Option<&str>) -> Result<Vec<Restricted>, StoreError> {
    sqlx::query_as(
        "SELECT r.capability, ARRAY(SELECT account_id FROM agent_capability_grants g \
             WHERE g.capability = r.capability ORDER BY account_id LIMIT $2) AS granted \
         FROM agent_restricted_capabilities r WHERE $1::text IS NULL OR r.capability = $1 \
         ORDER BY r.capability LIMIT $2",
    )
    .bind(only)
    .bind(MOST)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_restricted_capabilities.list"))
}

/// Those of the capabilities that the account may not serve; without an account all that are restricted.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn denied(
    db: impl PgExecutor<'_>,
    capabilities: &[String],
    account_id: &str,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT capability FROM agent_restricted_capabilities r WHERE capability = ANY($1) \
         AND NOT EXISTS (SELECT FROM agent_capability_grants g \
                         WHERE g.capability = r.capability AND g.account_id = $2) ORDER BY capability",
    )
    .bind(capabilities)
    .bind(account_id)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_restricted_capabilities.denied"))
}

/// Of pairs of an account and a capability those where the account may serve it: it registered it, with whichever
/// session, and was granted it if it is restricted. What connections are given in secure mode, and no less.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn holders(
    db: impl PgExecutor<'_>,
    pairs: &[(&str, &str)],
) -> Result<Vec<(String, String)>, StoreError> {
    let (accounts, names): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    sqlx::query_as(
        "SELECT t.account_id, t.name FROM unnest($1::text[], $2::text[]) AS t (account_id, name) \
         WHERE EXISTS (SELECT FROM agent_capability_grants g \
                       WHERE g.account_id = t.account_id AND g.capability = t.name) \
            OR (NOT EXISTS (SELECT FROM agent_restricted_capabilities r WHERE r.capability = t.name) \
                AND (EXISTS (SELECT FROM agent_accounts a \
                             WHERE a.account_id = t.account_id AND a.capabilities ? t.name) \
                     OR EXISTS (SELECT FROM agent_sessions s WHERE s.account_id = t.account_id \
                                AND jsonb_typeof(s.metadata -> 'capabilities') = 'array' \
                                AND s.metadata -> 'capabilities' ? t.name)))",
    )
    .bind(accounts)
    .bind(names)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_capability_grants.holders"))
}

/// Accounts that registered the capability and may not serve it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn unentitled(db: impl PgExecutor<'_>, capability: &str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT account_id FROM agent_accounts a WHERE a.capabilities @> jsonb_build_array($1::text) \
         AND NOT EXISTS (SELECT FROM agent_capability_grants g \
                         WHERE g.capability = $1 AND g.account_id = a.account_id) LIMIT $2",
    )
    .bind(capability)
    .bind(MOST)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_restricted_capabilities.unentitled"))
}
