//! Role and status of accounts: who runs the network, and who is locked out.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgExecutor};

use crate::StoreError;

/// Most accounts that one list holds.
const MOST: i64 = 1_000;
/// Most suspended accounts that are remembered.
const MOST_SUSPENDED: i64 = 100_000;

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Standing {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
    /// `active` or `suspended`.
    pub status: String,
    /// The key that speaks for it.
    pub public_key: Option<String>,
}

const COLUMNS: &str = "SELECT a.account_id, a.username, a.role, a.status, k.public_key FROM agent_accounts a \
     LEFT JOIN agent_keys k ON k.account_id = a.account_id AND k.revoked_at IS NULL AND k.kind = 'own'";

/// How the account of that id, or else of that normalised username, stands.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn find(
    db: impl PgExecutor<'_>,
    account_id: &str,
    username: &str,
) -> Result<Option<Standing>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(COLUMNS);
    sql.push(" WHERE a.account_id = ").push_bind(account_id).push(" OR a.username = ").push_bind(username);
    sql.push(" ORDER BY a.account_id = ").push_bind(account_id).push(" DESC LIMIT 1");
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_accounts.standing"))
}

/// Makes an agent an operator, or an operator an agent. `false` for an account that isn't an agent or operator.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set_operator(
    db: impl PgExecutor<'_>,
    account_id: &str,
    operator: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "UPDATE agent_accounts SET role = $2, updated_at = greatest(updated_at, $3) \
         WHERE account_id = $1 AND role IN ('agent', 'operator')",
    )
    .bind(account_id)
    .bind(if operator { "operator" } else { "agent" })
    .bind(now.to_offset())
    .execute(db)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_accounts.set_role"))
}

/// Locks an account out, or lets it in again.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set_suspended(
    db: impl PgExecutor<'_>,
    account_id: &str,
    suspended: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE agent_accounts SET status = $2, updated_at = greatest(updated_at, $3) WHERE account_id = $1",
    )
    .bind(account_id)
    .bind(if suspended { "suspended" } else { "active" })
    .bind(now.to_offset())
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_accounts.set_status"))
}

/// Operators by username, those among them whose key is in `keys`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn operators(db: impl PgExecutor<'_>, keys: &[String]) -> Result<Vec<Standing>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(COLUMNS);
    sql.push(" WHERE a.role = 'operator' OR k.public_key = ANY(").push_bind(keys.to_vec());
    sql.push(") ORDER BY a.username LIMIT ").push_bind(MOST);
    sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_accounts.operators"))
}

/// Everybody who is locked out.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn suspended(db: impl PgExecutor<'_>) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT account_id FROM agent_accounts WHERE status = 'suspended' LIMIT $1")
        .bind(MOST_SUSPENDED)
        .fetch_all(db)
        .await
        .map_err(StoreError::query("agent_accounts.suspended"))
}

/// Those of the accounts that are locked out.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn suspended_of(db: impl PgExecutor<'_>, accounts: &[&str]) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT account_id FROM agent_accounts WHERE status = 'suspended' AND account_id = ANY($1)",
    )
    .bind(accounts)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_accounts.suspended_of"))
}
