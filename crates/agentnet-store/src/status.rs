//! `agent_status`: what agents say about how they are.

use std::collections::BTreeMap;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::{MAX_LOAD_METRICS, StatusView};
use agentnet_proto::task::AgentStatus;
use sqlx::{FromRow, PgExecutor, types::Json};
use time::OffsetDateTime;

use crate::StoreError;

#[derive(FromRow)]
struct Columns {
    account_id: String,
    status: String,
    load_metrics: Json<BTreeMap<String, f64>>,
    updated_at: OffsetDateTime,
}

impl From<Columns> for StatusView {
    fn from(row: Columns) -> Self {
        Self {
            account_id: row.account_id,
            // Only words of the table are written.
            status: AgentStatus::parse(&row.status).unwrap_or_default(),
            load_metrics: row.load_metrics.0,
            updated_at: Timestamp::from(row.updated_at).to_string(),
        }
    }
}

/// Notes what an account says; what isn't given stays. `None` when that would be too many figures.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn set(
    db: impl PgExecutor<'_>,
    account_id: &str,
    status: Option<AgentStatus>,
    load_metrics: &BTreeMap<String, f64>,
) -> Result<Option<StatusView>, StoreError> {
    sqlx::query_as::<_, Columns>(
        "INSERT INTO agent_status AS s (account_id, status, load_metrics, updated_at) \
         VALUES ($1, coalesce($2, 'active'), $3, now()) ON CONFLICT (account_id) DO UPDATE \
         SET status = coalesce($2, s.status), load_metrics = s.load_metrics || excluded.load_metrics, updated_at = now() \
         WHERE (SELECT count(*) FROM jsonb_object_keys(s.load_metrics || excluded.load_metrics)) <= $4 RETURNING *",
    )
    .bind(account_id)
    .bind(status.map(AgentStatus::as_str))
    .bind(Json(load_metrics))
    .bind(i64::try_from(MAX_LOAD_METRICS).unwrap_or(i64::MAX))
    .fetch_optional(db)
    .await
    .map(|row| row.map(StatusView::from))
    .map_err(StoreError::query("agent_status.set"))
}

/// What these accounts said; those that said nothing are missing.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn of(db: impl PgExecutor<'_>, accounts: &[String]) -> Result<Vec<StatusView>, StoreError> {
    sqlx::query_as::<_, Columns>(
        "SELECT account_id, status, load_metrics, updated_at FROM agent_status WHERE account_id = ANY($1)",
    )
    .bind(accounts)
    .fetch_all(db)
    .await
    .map(|rows| rows.into_iter().map(StatusView::from).collect())
    .map_err(StoreError::query("agent_status.of"))
}
