//! `agent_feed`: what changed, for those who watch and come back.
//!
//! Its order is that of the transactions, and readers go only as far as every transaction is over: nothing ever turns up
//! before what was read already.

use std::time::Duration;

use agentnet_proto::{AccountId, Payload, Timestamp};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, QueryBuilder, types::Json};
use time::OffsetDateTime;

use super::{At, push_from};
use crate::StoreError;

/// Something that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of thing.
    pub kind: String,
    /// Whom it is about.
    pub account_id: Option<String>,
    /// Who may read it; `None` is everybody.
    pub readers: Option<Vec<String>>,
    /// What.
    pub body: Value,
}

/// Adds an event; it is there once the transaction is committed.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn add(tx: &mut PgConnection, event: &Event, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO agent_feed (at, kind, account_id, readers, body) VALUES ($1, $2, $3, $4, $5)")
        .bind(now.to_offset())
        .bind(&event.kind)
        .bind(&event.account_id)
        .bind(&event.readers)
        .bind(Json(&event.body))
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_feed.add"))
}

/// Where somebody has read to: transaction and id, both of them whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FeedPosition {
    /// The transaction.
    pub tx: i64,
    /// The row.
    pub id: i64,
}

impl FeedPosition {
    /// Reads what [`Display`](std::fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (tx, id) = text.split_once('-')?;
        let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n >= 0);
        Some(Self { tx: number(tx)?, id: number(id)? })
    }
}

impl std::fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.tx, self.id)
    }
}

/// A part of the feed.
#[derive(Debug, Clone)]
pub struct FeedPage {
    /// In order.
    pub events: Vec<(FeedPosition, String, Timestamp, Payload)>,
    /// Where to go on.
    pub next: FeedPosition,
    /// Whether there is more.
    pub more: bool,
}

#[derive(FromRow)]
struct Columns {
    tx: i64,
    id: i64,
    at: OffsetDateTime,
    kind: String,
    body: String,
}

/// What came behind `after` that the reader may see (`None` is everything), of these kinds or all. Without `after` only where
/// the feed ends now.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn read(
    pool: &PgPool,
    after: Option<FeedPosition>,
    kinds: &[String],
    reader: Option<&AccountId>,
    limit: i64,
) -> Result<FeedPage, StoreError> {
    let failed = StoreError::query("agent_feed.read");
    // Everything of transactions before this one is there to be read.
    let horizon: i64 = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        .fetch_one(pool)
        .await
        .map_err(&failed)?;
    let end = FeedPosition { tx: horizon - 1, id: i64::MAX };
    let Some(after) = after else { return Ok(FeedPage { events: Vec::new(), next: end, more: false }) };
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT tx::text::bigint AS tx, id, at, kind, body::text AS body FROM agent_feed \
         WHERE (tx, id) > ($1::text::xid8, $2) AND tx < $3::text::xid8 AND (cardinality($4::text[]) = 0 OR kind = ANY($4)) \
         AND ($5::text IS NULL OR readers IS NULL OR $5 = ANY(readers)) ORDER BY tx, id LIMIT $6",
    )
    .bind(after.tx.to_string())
    .bind(after.id)
    .bind(horizon.to_string())
    .bind(kinds)
    .bind(reader.map(AccountId::as_str))
    .bind(limit + 1)
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    let more = rows.len() as i64 > limit;
    let events: Vec<_> = rows
        .into_iter()
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .filter_map(|row| {
            let position = FeedPosition { tx: row.tx, id: row.id };
            Some((position, row.kind, row.at.into(), Payload::from_text(row.body).ok()?))
        })
        .collect();
    let next = match events.last() {
        Some((position, ..)) if more => *position,
        _ => end.max(after),
    };
    Ok(FeedPage { events, next, more })
}

/// Forgets what is older.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn prune(db: impl PgExecutor<'_>, older_than: Duration) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_feed WHERE (tx, id) IN (SELECT tx, id FROM agent_feed \
         WHERE at < now() - make_interval(secs => $1) LIMIT 5000)",
    )
    .bind(older_than.as_secs_f64())
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_feed.prune"))
}

/// Tells of agents whose status isn't the one that was told last, at most `limit`; one replica at a time. Unless `silence`
/// means something, those who seem to have fallen silent are left out. How many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn tell_changes(
    tx: &mut PgConnection,
    at: At,
    silence: bool,
    limit: i64,
) -> Result<u64, StoreError> {
    let failed = StoreError::query("agent_feed.tell_changes");
    let mine: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext('agent_feed.tell_changes'))")
            .fetch_one(&mut *tx)
            .await
            .map_err(&failed)?;
    if !mine {
        return Ok(0);
    }
    let mut sql = QueryBuilder::new(
        "WITH changed AS (SELECT c.account_id, coalesce(c.agent_id, a.username) AS agent_id, c.told, v.status, v.health, \
         c.load_metrics, a.visibility, c.owner_id",
    );
    push_from(&mut sql, at);
    sql.push(" WHERE v.status <> c.told AND (v.status = c.status OR ").push_bind(silence);
    sql.push(") LIMIT ").push_bind(limit);
    sql.push(
        "), noted AS (UPDATE agent_cards c SET told = n.status FROM changed n WHERE c.account_id = n.account_id) \
         INSERT INTO agent_feed (at, kind, account_id, readers, body) SELECT ",
    );
    sql.push_bind(at.now.to_offset());
    sql.push(
        ", 'agent_status', account_id, CASE WHEN visibility = 'private' THEN ARRAY[account_id, coalesce(owner_id, account_id)] END, \
         jsonb_build_object('agent_id', agent_id, 'account_id', account_id, 'old_status', told, 'status', status, \
         'health_score', health, 'load_metrics', load_metrics) FROM changed",
    );
    sql.build().execute(tx).await.map(|done| done.rows_affected()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_in_order() {
        let a = FeedPosition { tx: 9, id: 100 };
        assert_eq!(FeedPosition::parse(&a.to_string()), Some(a));
        assert!(a < FeedPosition { tx: 10, id: 1 });
        for bad in ["", "1", "1-", "-1-2", "a-b", "1-2-3", "99999999999999999999-1"] {
            assert_eq!(FeedPosition::parse(bad), None, "{bad}");
        }
    }
}
