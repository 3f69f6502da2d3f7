//! What was said to a thread while an account was invited and not yet in it: delivered when it joins.

use std::time::Duration;

use agentnet_proto::Envelope;
use sqlx::{FromRow, PgConnection};

use crate::StoreError;
use crate::ingest::RECEIPT_WAIT;

/// Most messages that are delivered to who joins, the newest; all of them are in the history.
pub const MOST_REPLAYED: i64 = 1_000;
/// When the timer finds the deliveries if nobody wakes redelivery for them.
const FOUND_AFTER: Duration = Duration::from_secs(2);

#[derive(FromRow)]
struct Said {
    message_id: String,
    /// Of a message that may be for some members only: its bytes.
    envelope: Option<Vec<u8>>,
}

/// Makes deliveries of what was posted to the whole thread since the account was invited and still lives; returns how
/// many. The account has just joined, and the thread is locked, so that what is posted later comes to it by itself.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn replay(tx: &mut PgConnection, thread_id: &str, account_id: &str) -> Result<u64, StoreError> {
    let failed = StoreError::query("agent_deliveries.replay");
    let said: Vec<Said> = sqlx::query_as(
        "SELECT m.message_id, \
             CASE WHEN position(convert_to('\"to_members\"', 'UTF8') IN m.envelope) > 0 THEN m.envelope END AS envelope \
         FROM (SELECT message_id, to_agent, from_account_id, kind, received_at, expires_at, envelope FROM agent_messages \
               WHERE thread_id = $1 ORDER BY sent_at DESC, message_id DESC LIMIT $3) m, \
             (SELECT since FROM agent_thread_members WHERE thread_id = $1 AND account_id = $2) j \
         WHERE m.to_agent = 'thread:' || $1 AND m.received_at >= j.since AND m.expires_at > agentnet_stream_now() \
             AND m.from_account_id IS DISTINCT FROM $2 AND m.kind NOT IN ('reply', 'error') \
             AND NOT EXISTS (SELECT FROM agent_blocks b WHERE b.account_id = $2 AND b.blocked_id = m.from_account_id)",
    )
    .bind(thread_id)
    .bind(account_id)
    .bind(MOST_REPLAYED)
    .fetch_all(&mut *tx)
    .await
    .map_err(&failed)?;
    let ids: Vec<String> =
        said.into_iter().filter(|said| said.is_for(account_id)).map(|said| said.message_id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    // No live copy of them is under way, so nothing is waited for; their order stays that in which they came.
    sqlx::query(
        "INSERT INTO agent_deliveries (message_id, recipient, state, sender_account_id, thread_id, next_attempt_at, \
             expires_at, has_message, created_at) \
         SELECT m.message_id, $2, 'pending', m.from_account_id, m.thread_id, t.now + $3, m.expires_at, true, \
             least(m.received_at, t.now - $4 + row_number() OVER (ORDER BY m.received_at, m.message_id) * interval '1 us') \
         FROM agent_messages m, (SELECT agentnet_stream_now() AS now) t WHERE m.message_id = ANY($1) \
         ON CONFLICT DO NOTHING",
    )
    .bind(&ids)
    .bind(account_id)
    .bind(FOUND_AFTER)
    .bind(RECEIPT_WAIT)
    .execute(tx)
    .await
    .map(|done| done.rows_affected())
    .map_err(&failed)
}

impl Said {
    fn is_for(&self, account_id: &str) -> bool {
        let Some(bytes) = &self.envelope else { return true };
        // Decoded before it was stored; one that can't be any more is left to the history.
        Envelope::decode(bytes).is_ok_and(|envelope| {
            envelope.to_members.is_empty() || envelope.to_members.iter().any(|id| id == account_id)
        })
    }
}
