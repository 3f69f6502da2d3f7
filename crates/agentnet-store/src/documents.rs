//! `agent_documents`: JSON documents that accounts keep, for everybody or for themselves.

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::MAX_DOCUMENTS;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::{StoreError, accounts};

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Whose it is.
    pub account_id: String,
    /// Its key.
    pub key: String,
    /// The JSON text; `None` where only the rest was asked for.
    pub value: Option<String>,
    /// Whether everybody may read it.
    pub public: bool,
    /// Length of the text in bytes.
    pub bytes: i64,
    /// When the key was first used.
    pub created_at: Timestamp,
    /// When the value was written.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Columns {
    account_id: String,
    key: String,
    value: Option<String>,
    public: bool,
    bytes: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Columns> for Document {
    fn from(row: Columns) -> Self {
        Self {
            account_id: row.account_id,
            key: row.key,
            value: row.value,
            public: row.public,
            bytes: row.bytes,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Writes a document. `None` when the account has [`MAX_DOCUMENTS`] under other keys.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn put(
    tx: &mut PgConnection,
    account_id: &str,
    key: &str,
    value: &str,
    public: bool,
    now: Timestamp,
) -> Result<Option<Document>, StoreError> {
    accounts::lock(tx, account_id).await?;
    sqlx::query_as::<_, Columns>(
        "INSERT INTO agent_documents AS d (account_id, key, value, public, created_at, updated_at) \
         SELECT $1, $2, $3, $4, $5, $5 \
         WHERE (SELECT count(*) FROM agent_documents WHERE account_id = $1 AND key <> $2) < $6 \
         ON CONFLICT (account_id, key) DO UPDATE \
         SET value = excluded.value, public = excluded.public, updated_at = excluded.updated_at \
         RETURNING account_id, key, NULL::text AS value, public, octet_length(d.value)::bigint AS bytes, created_at, \
         updated_at",
    )
    .bind(account_id)
    .bind(key)
    .bind(value)
    .bind(public)
    .bind(now.to_offset())
    .bind(MAX_DOCUMENTS)
    .fetch_optional(tx)
    .await
    .map(|row| row.map(Document::from))
    .map_err(StoreError::query("agent_documents.put"))
}

/// Removes a document; whether there was one.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn delete(db: impl PgExecutor<'_>, account_id: &str, key: &str) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM agent_documents WHERE account_id = $1 AND key = $2")
        .bind(account_id)
        .bind(key)
        .execute(db)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(StoreError::query("agent_documents.delete"))
}

/// Which documents to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct DocumentFilter<'a> {
    /// Only those of this account; `None` is everybody's that isn't private.
    pub owner: Option<&'a str>,
    /// Only this key.
    pub key: Option<&'a str>,
    /// Only keys that start so.
    pub prefix: Option<&'a str>,
    /// Private ones too.
    pub private: bool,
    /// With their values.
    pub values: bool,
    /// Of values, only as many as are needed to have this many bytes; the first always.
    pub most_bytes: i64,
    /// Only those behind this account and key.
    pub after: Option<(&'a str, &'a str)>,
    /// Most rows.
    pub limit: i64,
}

/// Around the documents with their values, with the bytes of each and of those before it. What isn't wanted isn't read from
/// where Postgres keeps long values.
const SUMMED: &str = "SELECT d.account_id, d.key, d.value, d.public, d.bytes, d.created_at, d.updated_at FROM (\
     SELECT d.*, sum(d.bytes) OVER (ORDER BY d.account_id, d.key)::bigint AS upto FROM (";

/// Documents by account, then by key.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn list(db: impl PgExecutor<'_>, filter: &DocumentFilter<'_>) -> Result<Vec<Document>, StoreError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(if filter.values { SUMMED } else { "" });
    sql.push("SELECT d.account_id, d.key, ");
    sql.push(if filter.values { "d.value" } else { "NULL::text AS value" });
    sql.push(
        ", d.public, octet_length(d.value)::bigint AS bytes, d.created_at, d.updated_at FROM agent_documents d WHERE true",
    );
    match filter.owner {
        Some(owner) => {
            sql.push(" AND d.account_id = ").push_bind(owner.to_owned());
        }
        None => {
            sql.push(" AND EXISTS (SELECT FROM agent_accounts a WHERE a.account_id = d.account_id AND a.visibility <> 'private')");
        }
    }
    if !filter.private {
        sql.push(" AND d.public");
    }
    if let Some(key) = filter.key {
        sql.push(" AND d.key = ").push_bind(key.to_owned());
    }
    if let Some(prefix) = filter.prefix {
        sql.push(" AND starts_with(d.key, ").push_bind(prefix.to_owned()).push(")");
    }
    if let Some((account, key)) = filter.after {
        sql.push(" AND (d.account_id, d.key) > (").push_bind(account.to_owned());
        sql.push(", ").push_bind(key.to_owned()).push(")");
    }
    sql.push(" ORDER BY d.account_id, d.key LIMIT ").push_bind(filter.limit);
    if filter.values {
        sql.push(") d) d WHERE d.upto - d.bytes < ").push_bind(filter.most_bytes);
        sql.push(" ORDER BY d.account_id, d.key");
    }
    sql.build_query_as::<Columns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Document::from).collect())
        .map_err(StoreError::query("agent_documents.list"))
}
