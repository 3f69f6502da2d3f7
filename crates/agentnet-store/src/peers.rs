//! `agent_peers`: whom an account knows.

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::MAX_PEERS;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::{StoreError, accounts};

/// A peer, with what its account says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The account.
    pub peer_id: String,
    /// Its username; `None` for one that isn't registered.
    pub username: Option<String>,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Its picture; may be empty.
    pub avatar_url: Option<String>,
    /// What was noted.
    pub note: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When the note changed last.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Columns {
    peer_id: String,
    username: Option<String>,
    display_name: Option<String>,
    avatar_url: Option<String>,
    note: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Columns> for Peer {
    fn from(row: Columns) -> Self {
        Self {
            peer_id: row.peer_id,
            username: row.username,
            display_name: row.display_name,
            avatar_url: row.avatar_url,
            note: row.note,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// What became of a wish to add a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is one now.
    New,
    /// It was one already; a note that was given took the old one's place.
    Before,
    /// The account has [`MAX_PEERS`].
    TooMany,
}

/// Adds a peer, or changes what is noted about it.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add(
    tx: &mut PgConnection,
    account_id: &str,
    peer_id: &str,
    note: Option<&str>,
    now: Timestamp,
) -> Result<Added, StoreError> {
    let failed = StoreError::query("agent_peers.add");
    accounts::lock(tx, account_id).await?;
    let known = sqlx::query(
        "UPDATE agent_peers SET note = coalesce($3, note), \
         updated_at = CASE WHEN note <> coalesce($3, note) THEN $4 ELSE updated_at END \
         WHERE account_id = $1 AND peer_id = $2",
    )
    .bind(account_id)
    .bind(peer_id)
    .bind(note)
    .bind(now.to_offset())
    .execute(&mut *tx)
    .await
    .map_err(&failed)?;
    if known.rows_affected() > 0 {
        return Ok(Added::Before);
    }
    let added = sqlx::query(
        "INSERT INTO agent_peers (account_id, peer_id, note, created_at, updated_at) \
         SELECT $1, $2, coalesce($3, ''), $4, $4 WHERE (SELECT count(*) FROM agent_peers WHERE account_id = $1) < $5",
    )
    .bind(account_id)
    .bind(peer_id)
    .bind(note)
    .bind(now.to_offset())
    .bind(MAX_PEERS)
    .execute(tx)
    .await
    .map_err(&failed)?;
    Ok(if added.rows_affected() > 0 { Added::New } else { Added::TooMany })
}

/// Forgets a peer; whether it was one.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn remove(db: impl PgExecutor<'_>, account_id: &str, peer_id: &str) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM agent_peers WHERE account_id = $1 AND peer_id = $2")
        .bind(account_id)
        .bind(peer_id)
        .execute(db)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(StoreError::query("agent_peers.remove"))
}

/// One peer.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn one(
    db: impl PgExecutor<'_>,
    account_id: &str,
    peer_id: &str,
) -> Result<Option<Peer>, StoreError> {
    let mut sql = select(account_id);
    sql.push(" AND p.peer_id = ").push_bind(peer_id.to_owned());
    sql.build_query_as::<Columns>()
        .fetch_optional(db)
        .await
        .map(|row| row.map(Peer::from))
        .map_err(StoreError::query("agent_peers.one"))
}

/// Peers by id, those behind `after`.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(
    db: impl PgExecutor<'_>,
    account_id: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Peer>, StoreError> {
    let mut sql = select(account_id);
    sql.push(" AND p.peer_id > ").push_bind(after.unwrap_or_default().to_owned());
    sql.push(" ORDER BY p.peer_id LIMIT ").push_bind(limit);
    sql.build_query_as::<Columns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Peer::from).collect())
        .map_err(StoreError::query("agent_peers.list"))
}

fn select(account_id: &str) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT p.peer_id, a.username, a.display_name, a.avatar_url, p.note, p.created_at, p.updated_at \
         FROM agent_peers p LEFT JOIN agent_accounts a ON a.account_id = p.peer_id WHERE p.account_id = ",
    );
    sql.push_bind(account_id.to_owned());
    sql
}
