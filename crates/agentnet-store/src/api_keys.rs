//! `agent_api_keys`: keys for machines that come in over HTTP. Only hashes of their secrets are kept.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// Most keys of one account that are good at once.
pub const MAX_KEYS: i64 = 100;
/// Most keys that one list holds.
const MOST: i64 = 200;

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ApiKey {
    /// Names the key.
    pub key_id: String,
    /// The account it speaks for.
    pub account_id: String,
    /// For people.
    pub name: String,
    /// What it may be used for; empty for everything.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Until when it is good.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was used last.
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "key_id, account_id, name, scopes, created_at, expires_at, last_used_at, revoked_at";

/// A key to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewApiKey<'a> {
    /// Names the key.
    pub key_id: &'a str,
    /// The account it speaks for.
    pub account_id: &'a str,
    /// For people.
    pub name: &'a str,
    /// SHA-256 of its secret.
    pub secret_sha256: [u8; 32],
    /// What it may be used for; empty for everything.
    pub scopes: &'a [String],
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
}

/// Keeps a key; `None` when the account has as many as it may.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create(
    tx: &mut PgConnection,
    key: &NewApiKey<'_>,
    now: Timestamp,
) -> Result<Option<ApiKey>, StoreError> {
    let failed = StoreError::query("agent_api_keys.create");
    // Those who make keys of one account follow each other, so that the count holds.
    sqlx::query("SELECT FROM agent_accounts WHERE account_id = $1 FOR UPDATE")
        .bind(key.account_id)
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
    let mut sql = sqlx::QueryBuilder::new(
        "INSERT INTO agent_api_keys (key_id, account_id, name, secret_sha256, scopes, created_at, expires_at) SELECT ",
    );
    sql.push_bind(key.key_id).push(", ").push_bind(key.account_id).push(", ").push_bind(key.name);
    sql.push(", ").push_bind(key.secret_sha256.to_vec()).push(", ").push_bind(key.scopes.to_vec());
    sql.push(", ").push_bind(now.to_offset()).push(", ").push_bind(key.expires_at.map(Timestamp::to_offset));
    sql.push(" WHERE (SELECT count(*) FROM agent_api_keys WHERE account_id = ").push_bind(key.account_id);
    sql.push(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ").push_bind(now.to_offset());
    sql.push(")) < ").push_bind(MAX_KEYS).push(" RETURNING ").push(COLUMNS);
    sql.build_query_as().fetch_optional(tx).await.map_err(failed)
}

/// The account's keys, the latest first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, account_id: &str) -> Result<Vec<ApiKey>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM agent_api_keys WHERE account_id = ").push_bind(account_id);
    sql.push(" ORDER BY created_at DESC, key_id LIMIT ").push_bind(MOST);
    sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_api_keys.list"))
}

/// The key of that id.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_id(db: impl PgExecutor<'_>, key_id: &str) -> Result<Option<ApiKey>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM agent_api_keys WHERE key_id = ").push_bind(key_id);
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_api_keys.by_id"))
}

/// Takes a key out of use; gives it as it stands then.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn revoke(
    tx: &mut PgConnection,
    key_id: &str,
    now: Timestamp,
) -> Result<Option<ApiKey>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("UPDATE agent_api_keys SET revoked_at = coalesce(revoked_at, ");
    sql.push_bind(now.to_offset()).push(") WHERE key_id = ").push_bind(key_id);
    sql.push(" RETURNING ").push(COLUMNS);
    sql.build_query_as().fetch_optional(tx).await.map_err(StoreError::query("agent_api_keys.revoke"))
}

/// Notes that a key is used, if it is good and the secret is its.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn use_once(
    tx: &mut PgConnection,
    key_id: &str,
    secret_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Option<ApiKey>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("UPDATE agent_api_keys SET last_used_at = greatest(last_used_at, ");
    sql.push_bind(now.to_offset()).push(") WHERE key_id = ").push_bind(key_id);
    sql.push(" AND secret_sha256 = ").push_bind(secret_sha256.to_vec());
    sql.push(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ").push_bind(now.to_offset());
    sql.push(") RETURNING ").push(COLUMNS);
    sql.build_query_as().fetch_optional(tx).await.map_err(StoreError::query("agent_api_keys.use"))
}
