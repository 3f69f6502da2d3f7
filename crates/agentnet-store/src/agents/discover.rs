//! Finding agents by what they are and how they are.

use agentnet_proto::{AccountId, Timestamp};
use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

use super::{Agent, At, Columns, select};
use crate::StoreError;

/// Which agents; every field narrows.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentFilter<'a> {
    /// Only of this status.
    pub status: Option<&'a str>,
    /// Only of this type.
    pub agent_type: Option<&'a str>,
    /// Only those that can do all of this.
    pub capabilities: &'a [String],
    /// Only those that offer all of this.
    pub services: &'a [String],
    /// Only those with all of these tags.
    pub tags: &'a [String],
    /// Only those at least as healthy.
    pub min_health: Option<f64>,
    /// Private ones are shown to themselves and, with `None`, to everybody.
    pub public_for: Option<&'a AccountId>,
    /// Leaves private ones out for all.
    pub only_public: bool,
}

/// The last agent of a page, and the time its order is of.
#[derive(Debug, Clone, PartialEq)]
pub struct After {
    /// The time of the first page.
    pub at: Timestamp,
    /// Its health then.
    pub health: f64,
    /// Its account.
    pub account_id: String,
}

/// Agents that match, healthiest first, then by account id.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn discover(
    pool: &PgPool,
    filter: &AgentFilter<'_>,
    at: At,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<Agent>, StoreError> {
    let mut sql = select(at);
    push_where(&mut sql, filter);
    if let Some(after) = after {
        sql.push(" AND (v.health < ").push_bind(after.health);
        sql.push(" OR v.health = ").push_bind(after.health);
        sql.push(" AND c.account_id > ").push_bind(after.account_id.clone()).push(")");
    }
    sql.push(" ORDER BY v.health DESC, c.account_id LIMIT ").push_bind(limit);
    sql.build_query_as::<Columns>()
        .fetch_all(pool)
        .await
        .map(|rows| rows.into_iter().map(Agent::from).collect())
        .map_err(StoreError::query("agent_cards.discover"))
}

/// The filter as conditions behind [`super::push_from`].
pub(super) fn push_where(sql: &mut QueryBuilder<Postgres>, filter: &AgentFilter<'_>) {
    sql.push(" WHERE a.status <> 'suspended'");
    if let Some(agent_type) = filter.agent_type {
        sql.push(" AND c.agent_type = ").push_bind(agent_type.to_owned());
    }
    if !filter.capabilities.is_empty() {
        sql.push(" AND a.capabilities @> ").push_bind(Json(Value::from(filter.capabilities)));
    }
    if !filter.services.is_empty() {
        sql.push(" AND c.services @> ").push_bind(filter.services.to_vec());
    }
    if !filter.tags.is_empty() {
        sql.push(" AND c.tags @> ").push_bind(filter.tags.to_vec());
    }
    if let Some(reader) = filter.public_for {
        sql.push(" AND (a.visibility <> 'private' OR a.account_id = ").push_bind(reader.to_string());
        sql.push(" OR c.owner_id = ").push_bind(reader.to_string()).push(")");
    } else if filter.only_public {
        sql.push(" AND a.visibility <> 'private'");
    }
    if let Some(status) = filter.status {
        sql.push(" AND v.status = ").push_bind(status.to_owned());
    }
    if let Some(health) = filter.min_health {
        sql.push(" AND v.health >= ").push_bind(health);
    }
}
