//! `agent_logins`, `agent_refresh_tokens` and `agent_ws_tickets`: who came in over HTTP, and what keeps them in. Tokens and
//! tickets are kept as hashes only.

use agentnet_proto::Timestamp;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::{StoreError, keys};

/// Most logins of one account at once; one more ends the oldest.
pub const MAX_LOGINS: i64 = 50;
/// Most session keys of one login at once; one more ends the oldest.
pub const MAX_SESSION_KEYS: i64 = 8;
/// Rows removed by one step.
const STEP: i64 = 5_000;

/// A login to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewLogin<'a> {
    /// Its id, the `sid` of its access tokens.
    pub sid: &'a str,
    /// Whose it is.
    pub account_id: &'a str,
    /// The API key that it was made with; a password else.
    pub api_key_id: Option<&'a str>,
    /// What it may be used for; empty for everything.
    pub scopes: &'a [String],
    /// The gateway's account.
    pub via: Option<&'a str>,
    /// No token or key of it lasts longer.
    pub expires_at: Timestamp,
}

/// A login that is good, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Login {
    /// Its id.
    pub sid: String,
    /// Whose it is.
    pub account_id: String,
    /// The account's username.
    pub username: String,
    /// The account's role: `agent` or `operator`.
    pub role: String,
    /// The account's kind: `agent` or `human`.
    pub kind: String,
    /// The API key that it was made with.
    pub api_key_id: Option<String>,
    /// What it may be used for; empty for everything.
    pub scopes: Vec<String>,
    /// No token or key of it lasts longer.
    pub expires_at: OffsetDateTime,
}

/// Why a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its owner left.
    Logout,
    /// A refresh token was used twice.
    Reused,
    /// The account has another password.
    Password,
    /// The account was locked out.
    Disabled,
    /// Its API key was revoked.
    Revoked,
    /// The account had too many.
    Replaced,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Reused => "reused",
            Self::Password => "password",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
        }
    }
}

/// Which logins.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// One.
    Sid(&'a str),
    /// All of an account.
    Account(&'a str),
    /// All that an API key made.
    ApiKey(&'a str),
    /// Those of an account beyond [`MAX_LOGINS`], the oldest; of passwords, or of one API key.
    Surplus {
        /// The account.
        account_id: &'a str,
        /// The API key.
        api_key_id: Option<&'a str>,
    },
}

/// Keeps a login.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn create(tx: &mut PgConnection, login: &NewLogin<'_>, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_logins (sid, account_id, api_key_id, scopes, via, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(login.sid)
    .bind(login.account_id)
    .bind(login.api_key_id)
    .bind(login.scopes)
    .bind(login.via)
    .bind(now.to_offset())
    .bind(login.expires_at.to_offset())
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_logins.create"))
}

/// The login, if it is good: it hasn't ended, its time isn't over, its account isn't locked out. Held until the transaction
/// ends, so that whatever ends it waits.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn live(tx: &mut PgConnection, sid: &str, now: Timestamp) -> Result<Option<Login>, StoreError> {
    sqlx::query_as(
        "SELECT l.sid, l.account_id, a.username, a.role, a.kind, l.api_key_id, l.scopes, l.expires_at \
         FROM agent_logins l JOIN agent_accounts a USING (account_id) \
         WHERE l.sid = $1 AND l.ended_at IS NULL AND l.expires_at > $2 AND a.status <> 'suspended' FOR UPDATE OF l",
    )
    .bind(sid)
    .bind(now.to_offset())
    .fetch_optional(tx)
    .await
    .map_err(StoreError::query("agent_logins.live"))
}

/// Ends logins with their session keys; returns account and key of those that ended by this.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end(
    tx: &mut PgConnection,
    which: Which<'_>,
    how: Ended,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut sql = sqlx::QueryBuilder::new("UPDATE agent_logins SET ended_at = greatest(created_at, ");
    sql.push_bind(now.to_offset()).push("), ended_as = ").push_bind(how.as_str());
    sql.push(" WHERE ended_at IS NULL AND ");
    match which {
        Which::Sid(sid) => sql.push("sid = ").push_bind(sid),
        Which::Account(account) => sql.push("account_id = ").push_bind(account),
        Which::ApiKey(key) => sql.push("api_key_id = ").push_bind(key),
        Which::Surplus { account_id, api_key_id } => {
            sql.push("sid IN (SELECT sid FROM agent_logins WHERE ended_at IS NULL AND account_id = ");
            sql.push_bind(account_id).push(" AND api_key_id IS NOT DISTINCT FROM ").push_bind(api_key_id);
            sql.push(" ORDER BY created_at DESC, sid OFFSET ").push_bind(MAX_LOGINS).push(")")
        }
    };
    sql.push(" RETURNING sid");
    let sids: Vec<String> =
        sql.build_query_scalar().fetch_all(&mut *tx).await.map_err(StoreError::query("agent_logins.end"))?;
    if sids.is_empty() { Ok(Vec::new()) } else { keys::end_sessions(tx, &sids, 0, now).await }
}

/// The account of a login, whatever became of it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn account_of(db: impl PgExecutor<'_>, sid: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT account_id FROM agent_logins WHERE sid = $1")
        .bind(sid)
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_logins.account_of"))
}

/// Whether the key is one that an API key's login bound.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn is_of_api_key(db: impl PgExecutor<'_>, public_key: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agent_keys JOIN agent_logins USING (sid) \
         WHERE public_key = $1 AND kind = 'session' AND api_key_id IS NOT NULL)",
    )
    .bind(public_key)
    .fetch_one(db)
    .await
    .map_err(StoreError::query("agent_logins.is_of_api_key"))
}

/// Keeps a refresh token of a login.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add_refresh(
    tx: &mut PgConnection,
    token_sha256: &[u8; 32],
    sid: &str,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO agent_refresh_tokens (token_sha256, sid, expires_at) VALUES ($1, $2, $3)")
        .bind(&token_sha256[..])
        .bind(sid)
        .bind(expires_at.to_offset())
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_refresh_tokens.add"))
}

/// What a refresh token turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// None that the network made, or one whose time is over.
    Unknown,
    /// One that was used before, of this login.
    Spent(String),
    /// Good until now, of this login.
    Good(String),
}

/// Uses a refresh token up. Of two who come with one at the same time, the second finds it spent.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn spend_refresh(
    tx: &mut PgConnection,
    token_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Refresh, StoreError> {
    let failed = StoreError::query("agent_refresh_tokens.spend");
    let found: Option<(String, OffsetDateTime, Option<OffsetDateTime>)> = sqlx::query_as(
        "SELECT sid, expires_at, spent_at FROM agent_refresh_tokens WHERE token_sha256 = $1 FOR UPDATE",
    )
    .bind(&token_sha256[..])
    .fetch_optional(&mut *tx)
    .await
    .map_err(&failed)?;
    let sid = match found {
        None => return Ok(Refresh::Unknown),
        Some((sid, _, Some(_))) => return Ok(Refresh::Spent(sid)),
        Some((_, expires_at, None)) if expires_at <= now.to_offset() => return Ok(Refresh::Unknown),
        Some((sid, _, None)) => sid,
    };
    sqlx::query("UPDATE agent_refresh_tokens SET spent_at = $2 WHERE token_sha256 = $1")
        .bind(&token_sha256[..])
        .bind(now.to_offset())
        .execute(tx)
        .await
        .map_err(&failed)?;
    Ok(Refresh::Good(sid))
}

/// The login that a refresh token belongs to, used or not.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn sid_of_refresh(
    db: impl PgExecutor<'_>,
    token_sha256: &[u8; 32],
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT sid FROM agent_refresh_tokens WHERE token_sha256 = $1")
        .bind(&token_sha256[..])
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_refresh_tokens.sid"))
}

/// Keeps a ticket for a WebSocket.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add_ticket(
    tx: &mut PgConnection,
    ticket_sha256: &[u8; 32],
    sid: &str,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO agent_ws_tickets (ticket_sha256, sid, expires_at) VALUES ($1, $2, $3)")
        .bind(&ticket_sha256[..])
        .bind(sid)
        .bind(expires_at.to_offset())
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_ws_tickets.add"))
}

/// Takes a ticket: the login it is for, once, while it is good.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn take_ticket(
    tx: &mut PgConnection,
    ticket_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let taken: Option<(String, OffsetDateTime)> =
        sqlx::query_as("DELETE FROM agent_ws_tickets WHERE ticket_sha256 = $1 RETURNING sid, expires_at")
            .bind(&ticket_sha256[..])
            .fetch_optional(tx)
            .await
            .map_err(StoreError::query("agent_ws_tickets.take"))?;
    Ok(taken.filter(|(_, expires_at)| *expires_at > now.to_offset()).map(|(sid, _)| sid))
}

/// Deletes a step of logins whose time is over, with their tokens, and of tickets; returns how many rows. Session keys
/// stay: what they signed verifies as long as it is stored.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget_expired(pool: &sqlx::PgPool) -> Result<u64, StoreError> {
    let mut rows = 0;
    for delete in [
        "DELETE FROM agent_logins WHERE sid IN (SELECT sid FROM agent_logins WHERE expires_at < now() \
         LIMIT $1 FOR UPDATE SKIP LOCKED)",
        "DELETE FROM agent_ws_tickets WHERE ticket_sha256 IN (SELECT ticket_sha256 FROM agent_ws_tickets \
         WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    ] {
        let done = sqlx::query(delete).bind(STEP).execute(pool).await;
        rows += done.map_err(StoreError::query("agent_logins.forget_expired"))?.rows_affected();
    }
    Ok(rows)
}
