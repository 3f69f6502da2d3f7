//! Accounts of guests, whose key nobody keeps: removed when nobody has used them for a while.

use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::PgPool;

use crate::{StoreError, members};

/// Guests looked at by one step: each may be in threads, which are locked one after another.
const STEP: i64 = 100;

/// Removes guests that no session has been online of for longer than `after`, with all that hangs on their accounts: keys,
/// sessions, friends, blocks, documents. They leave their threads first, as members do: what they own goes to whoever joined
/// first. What they sent stays in the history as long as its threads; their files live until they are over. Returns
/// (account, username) of each; none means that none is left.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn prune(
    pool: &PgPool,
    after: Duration,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    let failed = StoreError::query("guests.prune");
    let mut tx = pool.begin().await.map_err(&failed)?;
    let guests: Vec<(String, String)> = sqlx::query_as(
        "SELECT account_id, username FROM agent_accounts a WHERE kind = 'guest' \
         AND updated_at < now() - make_interval(secs => $1) \
         AND NOT EXISTS (SELECT FROM agent_sessions s WHERE s.account_id = a.account_id AND s.status = 'online') \
         AND NOT EXISTS (SELECT FROM agent_sessions s WHERE s.account_id = a.account_id AND s.status = 'offline' \
                         AND s.disconnected_at > now() - make_interval(secs => $1)) \
         ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(after.as_secs_f64())
    .bind(STEP)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    if guests.is_empty() {
        return Ok(guests);
    }
    let ids: Vec<String> = guests.iter().map(|(id, _)| id.clone()).collect();
    let threads: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT thread_id FROM agent_thread_members \
         WHERE account_id = ANY($1) AND state IN ('invited', 'joined') ORDER BY thread_id",
    )
    .bind(&ids)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    for thread in threads {
        if members::lock(&mut tx, &thread).await?.is_some() {
            members::end(&mut tx, &thread, &ids, false, now).await?;
        }
    }
    for sql in [
        "DELETE FROM agent_sessions WHERE account_id = ANY($1) AND status = 'offline'",
        "DELETE FROM agent_accounts WHERE account_id = ANY($1)",
    ] {
        sqlx::query(sql).bind(&ids).execute(&mut *tx).await.map_err(&failed)?;
    }
    tx.commit().await.map_err(&failed)?;
    Ok(guests)
}
