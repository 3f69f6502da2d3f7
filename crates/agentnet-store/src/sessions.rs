//! `agent_sessions`: who is and was online. `last_seen` is kept by the database's clock: callers give ages, so that
//! replicas with different clocks agree.

use std::collections::HashMap;
use std::time::Duration;

use agentnet_proto::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, types::Json};
use time::OffsetDateTime;

use crate::StoreError;
use crate::accounts::{object, strings};

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Identity of the process.
    pub session_tag: String,
    /// Its role label.
    pub agent_id: String,
    /// Its account.
    pub account_id: Option<String>,
    /// Its account's username when it registered.
    pub username: Option<String>,
    /// The registry that opened it.
    pub server_id: String,
    /// What it speaks.
    pub schema_version: String,
    /// When it was opened.
    pub connected_at: Timestamp,
    /// How long ago the network heard of it.
    pub age: Duration,
    /// Name for people.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it tells about itself.
    pub metadata: Map<String, Value>,
}

#[derive(FromRow)]
struct SessionColumns {
    session_tag: String,
    agent_id: String,
    account_id: Option<String>,
    username: Option<String>,
    server_id: String,
    schema_version: String,
    connected_at: OffsetDateTime,
    age: f64,
    metadata: Json<Value>,
}

impl From<SessionColumns> for Session {
    fn from(row: SessionColumns) -> Self {
        let mut told = object(row.metadata.0);
        let mut take = |name: &str| told.remove(name).unwrap_or_default();
        Self {
            session_tag: row.session_tag,
            agent_id: row.agent_id,
            account_id: row.account_id,
            username: row.username,
            server_id: row.server_id,
            schema_version: row.schema_version,
            connected_at: row.connected_at.into(),
            age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
            name: take("name").as_str().unwrap_or_default().to_owned(),
            capabilities: strings(take("capabilities")),
            metadata: object(take("metadata")),
        }
    }
}

/// Writes a session that has just registered.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn open(tx: &mut PgConnection, session: &Session) -> Result<(), StoreError> {
    write(tx, std::slice::from_ref(session)).await.map(drop)
}

/// Writes sessions as online, whether they were known or not: those restored from a hello, and those whose
/// description changed. Returns how many rows changed.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn write(db: impl PgExecutor<'_>, sessions: &[Session]) -> Result<u64, StoreError> {
    // In key order, so that replicas writing the same sessions can't deadlock.
    let mut sorted: Vec<&Session> = sessions.iter().collect();
    sorted.sort_unstable_by(|a, b| a.session_tag.cmp(&b.session_tag));
    let column = |get: fn(&Session) -> Option<&str>| -> Vec<Option<String>> {
        sorted.iter().map(|session| get(session).map(str::to_owned)).collect()
    };
    let told: Vec<String> = sorted
        .iter()
        .map(|s| {
            json!({ "name": s.name, "capabilities": s.capabilities, "metadata": s.metadata }).to_string()
        })
        .collect();
    sqlx::query(
        "INSERT INTO agent_sessions AS s (session_tag, agent_id, account_id, username, server_id, schema_version, \
         connected_at, last_seen, status, metadata) \
         SELECT tag, agent, account, username, server, version, connected, now() - make_interval(secs => age), \
         'online', told::jsonb \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], \
         $8::float8[], $9::text[]) AS v (tag, agent, account, username, server, version, connected, age, told) \
         ON CONFLICT (session_tag) DO UPDATE SET account_id = excluded.account_id, username = excluded.username, \
         schema_version = excluded.schema_version, last_seen = greatest(s.last_seen, excluded.last_seen), \
         status = 'online', disconnected_at = NULL, metadata = excluded.metadata",
    )
    .bind(column(|s| Some(&s.session_tag)))
    .bind(column(|s| Some(&s.agent_id)))
    .bind(column(|s| s.account_id.as_deref()))
    .bind(column(|s| s.username.as_deref()))
    .bind(column(|s| Some(&s.server_id)))
    .bind(column(|s| Some(&s.schema_version)))
    .bind(sorted.iter().map(|s| s.connected_at.to_offset()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|s| s.age.as_secs_f64()).collect::<Vec<_>>())
    .bind(told)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_sessions.write"))
}

/// Notes when sessions were last heard of. Rows that another replica brought up to date within a second are left
/// alone. Returns the sessions that have no row, or one that says offline: their descriptions have to be written
/// again.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn touch(db: impl PgExecutor<'_>, heard: &[(String, Duration)]) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "WITH heard AS (SELECT tag, now() - make_interval(secs => age) AS at \
                        FROM unnest($1::text[], $2::float8[]) AS v (tag, age)), \
              due AS (SELECT s.session_tag, heard.at FROM agent_sessions s JOIN heard ON s.session_tag = heard.tag \
                      WHERE s.status = 'online' AND s.last_seen < heard.at - interval '1 second' \
                      ORDER BY s.session_tag FOR NO KEY UPDATE OF s), \
              touched AS (UPDATE agent_sessions s SET last_seen = due.at FROM due \
                          WHERE s.session_tag = due.session_tag) \
         SELECT tag FROM heard WHERE NOT EXISTS \
         (SELECT FROM agent_sessions s WHERE s.session_tag = heard.tag AND s.status = 'online')",
    )
    .bind(heard.iter().map(|(tag, _)| tag.clone()).collect::<Vec<_>>())
    .bind(heard.iter().map(|(_, age)| age.as_secs_f64()).collect::<Vec<_>>())
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_sessions.touch"))
}

/// A session whose row went offline by this call.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Ended {
    /// Identity of the process.
    pub session_tag: String,
    /// Its role label.
    pub agent_id: String,
    /// Its account.
    pub account_id: Option<String>,
    /// Its account's username.
    pub username: Option<String>,
}

/// Ends sessions that said goodbye. Returns those that were online until now, so that of several replicas one
/// announces each.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end(db: impl PgExecutor<'_>, tags: &[String]) -> Result<Vec<Ended>, StoreError> {
    sqlx::query_as(
        "WITH due AS (SELECT session_tag FROM agent_sessions WHERE session_tag = ANY($1) AND status = 'online' \
                      ORDER BY session_tag FOR NO KEY UPDATE) \
         UPDATE agent_sessions s SET status = 'offline', disconnected_at = now(), last_seen = now() \
         FROM due WHERE s.session_tag = due.session_tag \
         RETURNING s.session_tag, s.agent_id, s.account_id, s.username",
    )
    .bind(tags)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_sessions.end"))
}

/// Ends at most `limit` sessions that nobody has heard of for longer than `stale_after`, on whatever replica.
/// Returns them.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn end_stale(pool: &PgPool, stale_after: Duration, limit: i64) -> Result<Vec<Ended>, StoreError> {
    sqlx::query_as(
        "WITH due AS (SELECT session_tag FROM agent_sessions \
                      WHERE status = 'online' AND last_seen < now() - make_interval(secs => $1) \
                      ORDER BY session_tag LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) \
         UPDATE agent_sessions s SET status = 'offline', disconnected_at = now() \
         FROM due WHERE s.session_tag = due.session_tag \
         RETURNING s.session_tag, s.agent_id, s.account_id, s.username",
    )
    .bind(stale_after.as_secs_f64())
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("agent_sessions.end_stale"))
}

/// The sessions that are online as far as the database knows, most recently heard of first.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn online(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Session>, StoreError> {
    sqlx::query_as::<_, SessionColumns>(
        "SELECT session_tag, agent_id, account_id, username, server_id, schema_version, connected_at, metadata, \
         greatest(extract(epoch FROM now() - last_seen), 0)::float8 AS age \
         FROM agent_sessions WHERE status = 'online' ORDER BY last_seen DESC LIMIT $1",
    )
    .bind(limit)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(Session::from).collect())
    .map_err(StoreError::query("agent_sessions.online"))
}

/// Account and schema version of the sessions that exist, by tag.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn versions(
    db: impl PgExecutor<'_>,
    tags: &[&str],
) -> Result<HashMap<String, (String, String)>, StoreError> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT session_tag, account_id, schema_version FROM agent_sessions \
         WHERE session_tag = ANY($1) AND account_id IS NOT NULL",
    )
    .bind(tags)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_sessions.versions"))?;
    Ok(rows.into_iter().map(|(tag, account, version)| (tag, (account, version))).collect())
}

/// Through whom sessions said they came (`via` of their metadata), by session tag.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn vias(db: impl PgExecutor<'_>, tags: &[&str]) -> Result<HashMap<String, String>, StoreError> {
    sqlx::query_as::<_, (String, String)>(
        "SELECT session_tag, metadata #>> '{metadata,via}' FROM agent_sessions \
         WHERE session_tag = ANY($1) AND jsonb_typeof(metadata #> '{metadata,via}') = 'string'",
    )
    .bind(tags)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().collect())
    .map_err(StoreError::query("agent_sessions.vias"))
}
