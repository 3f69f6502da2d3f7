//! How agents are, by their own word.

use std::collections::BTreeMap;

use agentnet_proto::task::AgentStatus;
use sqlx::PgConnection;

use super::At;
use crate::{StoreError, status};

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is written.
    Done,
    /// There is no such agent.
    Unknown,
    /// The agent would have more figures than it may.
    TooMany,
}

/// Writes a report, and that the agent was heard of. Without a status it is a heartbeat, which ends `inactive` and `stale`
/// and leaves the others. One with a session on NATS is heard of there.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn report(
    tx: &mut PgConnection,
    account_id: &str,
    said: Option<AgentStatus>,
    load_metrics: &BTreeMap<String, f64>,
    at: At,
) -> Result<Reported, StoreError> {
    let before: Option<String> = sqlx::query_scalar(
        "UPDATE agent_cards c SET \
         heartbeat_at = CASE WHEN EXISTS (SELECT FROM agent_sessions s WHERE s.account_id = c.account_id \
             AND s.status = 'online' AND s.last_seen > $2::timestamptz - $3::interval \
             AND s.metadata #>> '{metadata,via}' IS NULL) THEN c.heartbeat_at ELSE $2 END \
         WHERE account_id = $1 RETURNING status",
    )
    .bind(account_id)
    .bind(at.now.to_offset())
    .bind(at.late_after)
    .fetch_optional(&mut *tx)
    .await
    .map_err(StoreError::query("agent_cards.report"))?;
    let Some(before) = before else { return Ok(Reported::Unknown) };
    let woken = matches!(before.as_str(), "inactive" | "stale").then_some(AgentStatus::Active);
    let said = said.or(woken);
    if said.is_none() && load_metrics.is_empty() {
        return Ok(Reported::Done);
    }
    // Its trigger keeps the card.
    let set = status::set(tx, account_id, said, load_metrics).await?;
    Ok(if set.is_some() { Reported::Done } else { Reported::TooMany })
}
