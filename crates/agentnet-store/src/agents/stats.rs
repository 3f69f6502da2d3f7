//! How many agents there are, and of which kinds.

use std::collections::BTreeMap;

use sqlx::{PgPool, QueryBuilder};

use super::{At, push_from};
use crate::StoreError;

/// Figures over all agents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// By status.
    pub statuses: BTreeMap<String, i64>,
    /// By type.
    pub types: BTreeMap<String, i64>,
    /// Different capabilities.
    pub capabilities: i64,
    /// Different services.
    pub services: i64,
    /// Mean over all agents.
    pub health: f64,
}

/// Counts.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn stats(pool: &PgPool, at: At) -> Result<Stats, StoreError> {
    let failed = StoreError::query("agent_cards.stats");
    let mut sql = QueryBuilder::new("SELECT v.status, c.agent_type, count(*), sum(v.health)");
    push_from(&mut sql, at);
    sql.push(" WHERE a.status <> 'suspended' GROUP BY 1, 2");
    let rows: Vec<(String, String, i64, f64)> =
        sql.build_query_as().fetch_all(pool).await.map_err(&failed)?;
    let mut stats = Stats::default();
    let (mut total, mut health) = (0, 0.0);
    for (status, agent_type, count, sum) in rows {
        *stats.statuses.entry(status).or_default() += count;
        *stats.types.entry(agent_type).or_default() += count;
        total += count;
        health += sum;
    }
    if total > 0 {
        stats.health = health / total as f64;
    }
    (stats.capabilities, stats.services) = sqlx::query_as(
        "SELECT (SELECT count(DISTINCT e) FROM agent_cards JOIN agent_accounts a USING (account_id), \
                 jsonb_array_elements(a.capabilities) e), \
                (SELECT count(DISTINCT e) FROM agent_cards c, unnest(c.services) e)",
    )
    .fetch_one(pool)
    .await
    .map_err(failed)?;
    Ok(stats)
}
