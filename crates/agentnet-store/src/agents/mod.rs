//! `agent_cards`: agents as the coordinator knows them.
//!
//! Every agent's account has a card, made with the account, so that those on NATS are found without doing anything. What an
//! agent reports and when it was heard of is in the row; its status and health are worked out by the functions of the
//! migration, at the time of the question.

mod broadcast;
mod discover;
mod feed;
mod history;
mod mail;
mod register;
mod report;
mod stats;
mod webhooks;

use std::collections::BTreeMap;
use std::time::Duration;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::Accepts;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder, types::Json};
use time::OffsetDateTime;

pub use self::broadcast::{NewBroadcast, Receiver, open as open_broadcast, receivers};
pub use self::discover::{After, AgentFilter, discover};
pub use self::feed::{
    Event, FeedPage, FeedPosition, add as add_event, prune as prune_feed, read as read_feed, tell_changes,
};
pub use self::history::{HistoryFilter, Way, page as history};
pub use self::mail::{Acked, Fetched, ack, fetch, give_back};
pub use self::register::{Presented, ensure, put};
pub use self::report::{Reported, report};
pub use self::stats::{Stats, stats};
pub use self::webhooks::{Claimed, Outcome, claim as claim_webhooks, failed as webhook_failed, mark_due};

use crate::StoreError;
use crate::accounts::{object, strings};

/// An agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// Its coordinator id: as given, else its username.
    pub agent_id: String,
    /// Who registered it over HTTP.
    pub owner_id: Option<String>,
    /// What it is.
    pub agent_type: String,
    /// How it is now.
    pub status: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it offers.
    pub services: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Where it is reached.
    pub endpoints: BTreeMap<String, String>,
    /// Anything else about it.
    pub metadata: Map<String, Value>,
    /// Its version.
    pub version: String,
    /// Whose worker it is.
    pub coordinator_id: Option<String>,
    /// From whom it takes what.
    pub accepts: Accepts,
    /// When it registered last.
    pub registered_at: Timestamp,
    /// When it was heard of last.
    pub heard_at: Option<Timestamp>,
    /// What it reported.
    pub load_metrics: BTreeMap<String, f64>,
    /// From 0 to 1.
    pub health: f64,
    /// Where its messages go.
    pub webhook_url: Option<String>,
    /// Failures since the last success.
    pub webhook_failures: i32,
    /// Why the last post failed.
    pub webhook_error: Option<String>,
    /// Since when nothing is posted any more.
    pub webhook_disabled_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct Columns {
    account_id: String,
    username: String,
    agent_id: String,
    owner_id: Option<String>,
    agent_type: String,
    status: String,
    capabilities: Json<Value>,
    services: Vec<String>,
    tags: Vec<String>,
    endpoints: Json<BTreeMap<String, String>>,
    metadata: Json<Value>,
    version: String,
    coordinator_id: Option<String>,
    accepts: Json<Accepts>,
    registered_at: OffsetDateTime,
    heard_at: Option<OffsetDateTime>,
    load_metrics: Json<BTreeMap<String, f64>>,
    health: f64,
    webhook_url: Option<String>,
    webhook_failures: i32,
    webhook_error: Option<String>,
    webhook_disabled_at: Option<OffsetDateTime>,
}

impl From<Columns> for Agent {
    fn from(row: Columns) -> Self {
        Self {
            account_id: row.account_id,
            username: row.username,
            agent_id: row.agent_id,
            owner_id: row.owner_id,
            agent_type: row.agent_type,
            status: row.status,
            capabilities: strings(row.capabilities.0),
            services: row.services,
            tags: row.tags,
            endpoints: row.endpoints.0,
            metadata: object(row.metadata.0),
            version: row.version,
            coordinator_id: row.coordinator_id,
            accepts: row.accepts.0,
            registered_at: row.registered_at.into(),
            heard_at: row.heard_at.map(Timestamp::from),
            load_metrics: row.load_metrics.0,
            health: row.health,
            webhook_url: row.webhook_url,
            webhook_failures: row.webhook_failures,
            webhook_error: row.webhook_error,
            webhook_disabled_at: row.webhook_disabled_at.map(Timestamp::from),
        }
    }
}

/// The time that statuses are worked out for, and how long after a hello a session counts as late.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The time.
    pub now: Timestamp,
    /// A session heard of longer ago is late.
    pub late_after: Duration,
}

const COLUMNS: &str = "SELECT c.account_id, a.username, coalesce(c.agent_id, a.username) AS agent_id, c.owner_id, \
     c.agent_type, v.status, a.capabilities, c.services, c.tags, c.endpoints, c.metadata, c.version, c.coordinator_id, \
     c.accepts, c.registered_at, v.heard_at, c.load_metrics, v.health, c.webhook_url, c.webhook_failures, c.webhook_error, \
     c.webhook_disabled_at";

/// Cards with their accounts and how they are at a time. Sessions that a gateway holds for somebody say nothing about that
/// one's own agent.
fn push_from(sql: &mut QueryBuilder<Postgres>, at: At) {
    sql.push(
        " FROM agent_cards c JOIN agent_accounts a USING (account_id) \
         CROSS JOIN LATERAL (SELECT max(s.last_seen) AS seen FROM agent_sessions s \
             WHERE s.account_id = c.account_id AND s.status = 'online' \
             AND s.metadata #>> '{metadata,via}' IS NULL) p \
         CROSS JOIN LATERAL (SELECT greatest(c.heartbeat_at, p.seen) AS heard_at, \
             agentnet_agent_status(c.status, c.heartbeat_at, p.seen, ",
    );
    let now = at.now.to_offset();
    sql.push_bind(now).push(", ").push_bind(at.late_after).push(") AS status, ");
    sql.push("agentnet_health_score(c.status, c.load, greatest(c.heartbeat_at, p.seen), ");
    sql.push_bind(now).push(") AS health) v");
}

fn select(at: At) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(COLUMNS);
    push_from(&mut sql, at);
    sql
}

/// The agents that a text may name: by coordinator id, by username, by account id. More than one means that the text is
/// ambiguous.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn named(db: impl PgExecutor<'_>, text: &str, at: At) -> Result<Vec<Agent>, StoreError> {
    let mut sql = select(at);
    sql.push(" WHERE c.account_id IN (SELECT account_id FROM agent_cards WHERE agent_id = ");
    sql.push_bind(text.to_owned());
    // Whoever has a coordinator id still goes by its username and account id.
    sql.push(" UNION SELECT account_id FROM agent_accounts WHERE username = ").push_bind(text.to_owned());
    sql.push(" UNION SELECT account_id FROM agent_accounts WHERE account_id = ").push_bind(text.to_owned());
    sql.push(") LIMIT 3");
    sql.build_query_as::<Columns>()
        .fetch_all(db)
        .await
        .map(|rows| rows.into_iter().map(Agent::from).collect())
        .map_err(StoreError::query("agent_cards.named"))
}

/// The agent of an account.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn of_account(
    db: impl PgExecutor<'_>,
    account_id: &str,
    at: At,
) -> Result<Option<Agent>, StoreError> {
    let mut sql = select(at);
    sql.push(" WHERE c.account_id = ").push_bind(account_id.to_owned());
    sql.build_query_as::<Columns>()
        .fetch_optional(db)
        .await
        .map(|row| row.map(Agent::from))
        .map_err(StoreError::query("agent_cards.of_account"))
}

/// What accounts are called by the coordinator: ids and names of those that exist.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn names(
    db: impl PgExecutor<'_>,
    accounts: &[&str],
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT account_id, coalesce(c.agent_id, a.username) FROM agent_accounts a LEFT JOIN agent_cards c USING (account_id) \
         WHERE account_id = ANY($1)",
    )
    .bind(accounts)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_cards.names"))?;
    Ok(rows.into_iter().collect())
}

/// Who noted whom: pairs of coordinator ids (or account ids of those who aren't registered), by the pair of accounts, which
/// comes first. Those of one account, or everybody's.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn peers(
    db: impl PgExecutor<'_>,
    account_id: Option<&str>,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<[String; 4]>, StoreError> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT p.account_id, p.peer_id, coalesce(c.agent_id, a.username, p.account_id), \
         coalesce(d.agent_id, b.username, p.peer_id) FROM agent_peers p \
         LEFT JOIN agent_accounts a ON a.account_id = p.account_id LEFT JOIN agent_cards c ON c.account_id = p.account_id \
         LEFT JOIN agent_accounts b ON b.account_id = p.peer_id LEFT JOIN agent_cards d ON d.account_id = p.peer_id \
         WHERE ($1::text IS NULL OR p.account_id = $1) AND (p.account_id, p.peer_id) > ($2, $3) \
         ORDER BY p.account_id, p.peer_id LIMIT $4",
    )
    .bind(account_id)
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_cards.peers"))?;
    Ok(rows.into_iter().map(|(a, b, c, d)| [a, b, c, d]).collect())
}

/// Whether one account noted another as a peer.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn is_peer(db: impl PgExecutor<'_>, account_id: &str, peer_id: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM agent_peers WHERE account_id = $1 AND peer_id = $2)")
        .bind(account_id)
        .bind(peer_id)
        .fetch_one(db)
        .await
        .map_err(StoreError::query("agent_cards.is_peer"))
}
