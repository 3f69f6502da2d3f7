//! Cards: made with their accounts, filled by whoever registers more.

use std::collections::BTreeMap;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::Accepts;
use agentnet_proto::task::AgentStatus;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use crate::{StoreError, status};

/// Makes the card of an agent's account, unless it has one. People, gateways and those for whom a gateway opens a session
/// are no agents.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn ensure(tx: &mut PgConnection, account_id: &str, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_cards (account_id, registered_at) SELECT account_id, $2 FROM agent_accounts \
         WHERE account_id = $1 AND kind = 'agent' AND role <> 'gateway' ON CONFLICT DO NOTHING",
    )
    .bind(account_id)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_cards.ensure"))
}

/// What an agent says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Its coordinator id.
    pub agent_id: &'a str,
    /// Who registers it, if that isn't itself; stays as it was otherwise.
    pub owner_id: Option<&'a str>,
    /// What it is.
    pub agent_type: &'a str,
    /// What it offers.
    pub services: &'a [String],
    /// Words to find it by.
    pub tags: &'a [String],
    /// Where it is reached.
    pub endpoints: &'a BTreeMap<String, String>,
    /// Anything else.
    pub metadata: &'a Map<String, Value>,
    /// Its version.
    pub version: &'a str,
    /// Whose worker it is.
    pub coordinator_id: Option<&'a str>,
    /// From whom it takes what.
    pub accepts: &'a Accepts,
    /// Where its messages go.
    pub webhook_url: Option<&'a str>,
    /// What they are signed with, should the webhook be new.
    pub webhook_secret: &'a str,
}

/// Fills the card; it replaces what was there. The agent counts as heard of, and what turned its webhook off is forgotten.
/// Whether the webhook's secret is the given one now: it stays as long as there is a webhook. `None` when another agent took
/// the coordinator id meanwhile; the transaction must be rolled back then.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn put(
    tx: &mut PgConnection,
    account_id: &str,
    presented: &Presented<'_>,
    now: Timestamp,
) -> Result<Option<bool>, StoreError> {
    ensure(tx, account_id, now).await?;
    let filled = sqlx::query_scalar(
        "UPDATE agent_cards SET agent_id = $2, owner_id = coalesce($3, owner_id), agent_type = $4, services = $5, tags = $6, \
         endpoints = $7, metadata = $8, version = $9, coordinator_id = $10, accepts = $11, registered_at = $14, \
         heartbeat_at = $14, webhook_url = $12, webhook_failures = 0, webhook_error = NULL, \
         webhook_disabled_at = NULL, webhook_due = $12 IS NOT NULL, \
         webhook_secret = CASE WHEN $12 IS NULL THEN NULL ELSE coalesce(webhook_secret, $13) END \
         WHERE account_id = $1 RETURNING coalesce(webhook_secret = $13, false)",
    )
    .bind(account_id)
    .bind(presented.agent_id)
    .bind(presented.owner_id)
    .bind(presented.agent_type)
    .bind(presented.services)
    .bind(presented.tags)
    .bind(Json(presented.endpoints))
    .bind(Json(presented.metadata))
    .bind(presented.version)
    .bind(presented.coordinator_id)
    .bind(Json(presented.accepts))
    .bind(presented.webhook_url)
    .bind(presented.webhook_secret)
    .bind(now.to_offset())
    .fetch_one(&mut *tx)
    .await;
    match filled {
        Ok(is_new) => {
            // Its trigger keeps the card.
            status::set(tx, account_id, Some(AgentStatus::Active), &BTreeMap::new()).await?;
            Ok(Some(is_new))
        }
        Err(error) if takes_agent_id(&error) => Ok(None),
        Err(error) => Err(StoreError::query("agent_cards.put")(error)),
    }
}

fn takes_agent_id(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|db| db.constraint()) == Some("agent_cards_agent_id_key")
}
