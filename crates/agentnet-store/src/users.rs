//! People: `agent_accounts` of kind `human`, and `agent_credentials`, their passwords.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::StoreError;

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Person {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// `agent` or `operator`.
    pub role: String,
    /// `active` or `suspended`.
    pub status: String,
    /// When the account was made.
    pub created_at: OffsetDateTime,
    /// When the password was set.
    pub set_at: Option<OffsetDateTime>,
    /// When somebody logged in with it last.
    pub last_login_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "SELECT a.account_id, a.username, a.display_name, a.role, a.status, a.created_at, c.set_at, \
     c.last_login_at FROM agent_accounts a LEFT JOIN agent_credentials c USING (account_id) WHERE a.kind = 'human'";

/// An account to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewPerson<'a> {
    /// Its id.
    pub account_id: &'a str,
    /// Its username, normalised.
    pub username: &'a str,
    /// Name for people.
    pub display_name: &'a str,
    /// `agent` or `operator`.
    pub role: &'a str,
}

/// Makes the account; `false` when the username is taken.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create(
    tx: &mut PgConnection,
    person: &NewPerson<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // The name was given for good: registering doesn't change it.
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, role, kind, named, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, 'human', true, $5, $5) ON CONFLICT DO NOTHING",
    )
    .bind(person.account_id)
    .bind(person.username)
    .bind(person.display_name)
    .bind(person.role)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_accounts.create_person"))
}

/// The person with that account.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_id(db: impl PgExecutor<'_>, account_id: &str) -> Result<Option<Person>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(COLUMNS);
    sql.push(" AND a.account_id = ").push_bind(account_id);
    sql.build_query_as().fetch_optional(db).await.map_err(StoreError::query("agent_accounts.person"))
}

/// People by username, those after `after`, at most `limit`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(
    db: impl PgExecutor<'_>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Person>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new(COLUMNS);
    if let Some(after) = after {
        sql.push(" AND a.username > ").push_bind(after);
    }
    sql.push(" ORDER BY a.username LIMIT ").push_bind(limit);
    sql.build_query_as().fetch_all(db).await.map_err(StoreError::query("agent_accounts.people"))
}

/// What a password is held against.
/// The hash isn't for logs: no `Debug`.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct Credential {
    /// The account.
    pub account_id: String,
    /// The password's hash, a PHC string.
    pub password_phc: String,
}

/// The credential of the account with that normalised username.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn credential_of_username(
    db: impl PgExecutor<'_>,
    username: &str,
) -> Result<Option<Credential>, StoreError> {
    sqlx::query_as(
        "SELECT account_id, password_phc FROM agent_accounts JOIN agent_credentials USING (account_id) \
         WHERE username = $1",
    )
    .bind(username)
    .fetch_optional(db)
    .await
    .map_err(StoreError::query("agent_credentials.of_username"))
}

/// Sets the account's password.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set_password(
    tx: &mut PgConnection,
    account_id: &str,
    phc: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_credentials (account_id, password_phc, set_at) VALUES ($1, $2, $3) \
         ON CONFLICT (account_id) DO UPDATE SET password_phc = excluded.password_phc, set_at = excluded.set_at",
    )
    .bind(account_id)
    .bind(phc)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_credentials.set"))
}

/// Notes a login with the password whose hash is `phc`, and puts `better`, a hash of the same password, in its place.
/// `false` when the password was changed meanwhile.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn logged_in(
    tx: &mut PgConnection,
    account_id: &str,
    phc: &str,
    better: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "UPDATE agent_credentials SET last_login_at = greatest(last_login_at, $3), \
         password_phc = coalesce($4, password_phc) WHERE account_id = $1 AND password_phc = $2",
    )
    .bind(account_id)
    .bind(phc)
    .bind(now.to_offset())
    .bind(better)
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_credentials.logged_in"))
}

/// Makes the account of a service that the configuration names by its key. Whoever calls this holds the key's
/// [`lock`](crate::keys::lock).
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create_service(
    tx: &mut PgConnection,
    account: &NewPerson<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, role, kind, named, visibility, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, 'service', true, 'private', $5, $5) ON CONFLICT DO NOTHING",
    )
    .bind(account.account_id)
    .bind(account.username)
    .bind(account.display_name)
    .bind(account.role)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_accounts.create_service"))
}

/// Makes an agent's account a gateway's; `false` for any other.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn make_gateway(
    tx: &mut PgConnection,
    account_id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    sqlx::query(
        "UPDATE agent_accounts SET role = 'gateway', kind = 'service', updated_at = greatest(updated_at, $2) \
         WHERE account_id = $1 AND role = 'agent' AND kind = 'agent'",
    )
    .bind(account_id)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(StoreError::query("agent_accounts.make_gateway"))
}
