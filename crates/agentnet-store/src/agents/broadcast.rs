//! Broadcasts: a thread whose members are the agents that match, for one message to all of them.

use agentnet_proto::Timestamp;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};

use super::{AgentFilter, At, discover::push_where, push_from};
use crate::members::{self, NewGroup};
use crate::{StoreError, accounts};

/// Who gets a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Receiver {
    /// The account.
    pub account_id: String,
    /// Its coordinator id.
    pub agent_id: String,
}

/// Agents that match and take broadcasts of the sender, by account id, those behind `after`: whether online or not.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn receivers(
    pool: &PgPool,
    filter: &AgentFilter<'_>,
    at: At,
    sender: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Receiver>, StoreError> {
    let mut sql = QueryBuilder::new("SELECT c.account_id, coalesce(c.agent_id, a.username) AS agent_id");
    push_from(&mut sql, at);
    push_where(&mut sql, filter);
    sql.push(" AND coalesce(c.accepts ->> 'broadcast', 'all') <> 'none' AND c.account_id <> ")
        .push_bind(sender.to_owned());
    sql.push(
        " AND NOT EXISTS (SELECT FROM agent_blocks b WHERE b.account_id = c.account_id AND b.blocked_id = ",
    );
    sql.push_bind(sender.to_owned()).push(") AND c.account_id > ").push_bind(after.to_owned());
    sql.push(" ORDER BY c.account_id LIMIT ").push_bind(limit);
    sql.build_query_as().fetch_all(pool).await.map_err(StoreError::query("agent_cards.receivers"))
}

/// A broadcast's thread.
#[derive(Debug, Clone, Copy)]
pub struct NewBroadcast<'a> {
    /// Its id, which is new.
    pub thread_id: &'a str,
    /// Who sends.
    pub sender: &'a str,
    /// To whom.
    pub receivers: &'a [Receiver],
}

/// Makes the thread with everybody in it. `false` when the id is in use.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn open(tx: &mut PgConnection, new: &NewBroadcast<'_>, now: Timestamp) -> Result<bool, StoreError> {
    accounts::lock(tx, new.sender).await?;
    let nothing: Map<String, Value> = Map::new();
    let group = NewGroup {
        thread_id: new.thread_id,
        title: "Broadcast",
        subject: "",
        public: false,
        metadata: &nothing,
        owner: new.sender,
    };
    if !members::create(tx, &group, now).await? {
        return Ok(false);
    }
    let failed = StoreError::query("agent_thread_members.broadcast");
    sqlx::query("UPDATE agent_threads SET broadcast = true WHERE thread_id = $1")
        .bind(new.thread_id)
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
    sqlx::query(
        "INSERT INTO agent_thread_members (thread_id, account_id, role, state, invited_by, created_at, updated_at, since) \
         SELECT $1, a.account_id, 'member', 'joined', $3, $4, $4, agentnet_stream_now() \
         FROM agent_accounts a WHERE a.account_id = ANY($2) ORDER BY a.account_id",
    )
    .bind(new.thread_id)
    .bind(new.receivers.iter().map(|receiver| receiver.account_id.as_str()).collect::<Vec<_>>())
    .bind(new.sender)
    .bind(now.to_offset())
    .execute(tx)
    .await
    .map(|_| true)
    .map_err(failed)
}
