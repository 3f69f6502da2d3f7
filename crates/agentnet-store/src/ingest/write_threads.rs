//! Counters of `agent_threads`.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::threads::ThreadDelta;
use crate::{
    StoreError,
    access::{MAX_ADDRESSED, MAX_ADDRESSED_BY_ONE},
};

// The 256 in it are MAX_PARTICIPANTS.
const UPSERT: &str = r#"
INSERT INTO agent_threads AS t (
    thread_id, created_by_account_id, participants, created_at, updated_at, message_count, byte_count, approx_tokens,
    latest_checkpoint_end, pending_raw_messages, last_message_is_checkpoint, last_message_at, addressed)
SELECT thread_id, created_by, participants::jsonb, created_at, updated_at, messages, bytes, tokens, checkpoint_end,
       pending, last_is_checkpoint, last_message_at, string_to_array(addressed, ' ')
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[], $12::timestamptz[], $13::text[])
     AS d (thread_id, created_by, participants, created_at, updated_at, messages, bytes, tokens, checkpoint_end,
           pending, last_is_checkpoint, last_message_at, addressed)
ON CONFLICT (thread_id) DO UPDATE SET
    created_by_account_id = coalesce(t.created_by_account_id, excluded.created_by_account_id),
    participants = CASE
        WHEN t.participants @> excluded.participants OR jsonb_array_length(t.participants) >= 256 THEN t.participants
        ELSE t.participants || (
            SELECT jsonb_agg(fresh.p ORDER BY fresh.place)
            FROM (SELECT e.p, e.place
                  FROM jsonb_array_elements(excluded.participants) WITH ORDINALITY AS e (p, place)
                  WHERE NOT t.participants @> e.p
                  ORDER BY e.place LIMIT 256 - jsonb_array_length(t.participants)) AS fresh)
        END,
    created_at = least(t.created_at, excluded.created_at),
    updated_at = greatest(t.updated_at, excluded.updated_at),
    message_count = t.message_count + excluded.message_count,
    byte_count = t.byte_count + excluded.byte_count,
    approx_tokens = t.approx_tokens + excluded.approx_tokens,
    latest_checkpoint_end = greatest(t.latest_checkpoint_end, excluded.latest_checkpoint_end),
    pending_raw_messages = t.pending_raw_messages + excluded.pending_raw_messages,
    last_message_is_checkpoint = CASE
        WHEN t.last_message_at > excluded.last_message_at THEN t.last_message_is_checkpoint
        ELSE excluded.last_message_is_checkpoint
        END,
    last_message_at = greatest(t.last_message_at, excluded.last_message_at),
    addressed = CASE
        WHEN t.addressed @> excluded.addressed OR cardinality(t.addressed) >= $14 THEN t.addressed
        ELSE t.addressed || ARRAY(
            SELECT e FROM unnest(excluded.addressed) AS e
            WHERE NOT t.addressed @> ARRAY[e] AND $15 > (
                SELECT count(*) FROM unnest(t.addressed) AS k
                WHERE substring(k FROM '^[^>~]*') = substring(e FROM '^[^>~]*')))
        END
RETURNING thread_id, latest_checkpoint_end > 0, access = 'members', closed_at IS NOT NULL"#;

/// Pending messages are counted anew where a checkpoint came, and where a checkpoint was met before messages that are
/// older than others of their thread: replicas meet them in any order. They are counted from the newest end, whose length
/// the counters tell, so that the cost is that of the tail and not of the thread. The upsert before holds the row's lock,
/// so the counters and the rows agree.
const RECOUNT: &str = "
UPDATE agent_threads AS t SET pending_raw_messages = (
    SELECT count(*) FILTER (WHERE tail.kind <> 'system')
    FROM (SELECT kind FROM agent_messages AS m WHERE m.thread_id = t.thread_id
          ORDER BY sent_at DESC, message_id DESC
          LIMIT greatest(t.message_count - t.latest_checkpoint_end, 0)) AS tail)
FROM unnest($1::text[], $2::boolean[], $3::timestamptz[], $4::bigint[]) AS d (thread_id, has_checkpoint, oldest, messages)
WHERE t.thread_id = d.thread_id AND (d.has_checkpoint OR d.messages < (
    SELECT count(*) FROM (SELECT FROM agent_messages AS m WHERE m.thread_id = d.thread_id AND m.sent_at >= d.oldest
                          LIMIT d.messages + 1) AS since))";

/// Adds the deltas, and counts pending messages anew where that is needed. Returns the threads that only members post to,
/// and whether they are closed.
pub(super) async fn add(
    conn: &mut PgConnection,
    threads: &BTreeMap<&str, ThreadDelta<'_>>,
) -> Result<HashMap<String, bool>, StoreError> {
    let numbers = |column: fn(&ThreadDelta<'_>) -> i64| threads.values().map(column).collect::<Vec<i64>>();
    let rows: Vec<(String, bool, bool, bool)> = sqlx::query_as(UPSERT)
        .bind(threads.keys().copied().collect::<Vec<&str>>())
        .bind(threads.values().map(|t| t.created_by).collect::<Vec<Option<&str>>>())
        .bind(threads.values().map(|t| json_list(&t.participants)).collect::<Vec<String>>())
        .bind(threads.values().map(|t| t.received_at.0.to_offset()).collect::<Vec<_>>())
        .bind(threads.values().map(|t| t.received_at.1.to_offset()).collect::<Vec<_>>())
        .bind(numbers(|t| t.messages))
        .bind(numbers(|t| t.bytes))
        .bind(numbers(|t| t.tokens))
        .bind(numbers(|t| t.checkpoint_end.unwrap_or(0)))
        .bind(numbers(|t| t.pending))
        .bind(threads.values().map(|t| t.last_is_checkpoint).collect::<Vec<bool>>())
        .bind(threads.values().map(|t| t.last_message_at.to_offset()).collect::<Vec<_>>())
        .bind(threads.values().map(|t| t.addressed.join(" ")).collect::<Vec<String>>())
        .bind(i32::try_from(MAX_ADDRESSED).unwrap_or(i32::MAX))
        .bind(i64::try_from(MAX_ADDRESSED_BY_ONE).unwrap_or(i64::MAX))
        .fetch_all(&mut *conn)
        .await
        .map_err(StoreError::query("agent_threads.upsert"))?;
    let mut recount: Vec<(&str, &ThreadDelta<'_>)> = rows
        .iter()
        .filter_map(|(id, has_checkpoint, ..)| threads.get_key_value(id.as_str()).filter(|_| *has_checkpoint))
        .map(|(id, thread)| (*id, thread))
        .collect();
    // One that covers nothing is counted anew too, as in the original.
    recount.extend(threads.iter().filter(|(_, t)| t.checkpoint_end == Some(0)).map(|(id, t)| (*id, t)));
    recount.sort_unstable_by_key(|(id, _)| *id);
    recount.dedup_by_key(|(id, _)| *id);
    if !recount.is_empty() {
        count_pending(conn, &recount).await?;
    }
    Ok(rows
        .into_iter()
        .filter_map(|(id, _, has_members, closed)| has_members.then_some((id, closed)))
        .collect())
}

async fn count_pending(
    conn: &mut PgConnection,
    recount: &[(&str, &ThreadDelta<'_>)],
) -> Result<(), StoreError> {
    sqlx::query(RECOUNT)
        .bind(recount.iter().map(|(id, _)| *id).collect::<Vec<&str>>())
        .bind(recount.iter().map(|(_, t)| t.checkpoint_end.is_some()).collect::<Vec<bool>>())
        .bind(recount.iter().map(|(_, t)| t.oldest_sent_at.to_offset()).collect::<Vec<_>>())
        .bind(recount.iter().map(|(_, t)| t.messages).collect::<Vec<i64>>())
        .execute(conn)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_threads.recount"))
}

fn json_list(texts: &[&str]) -> String {
    serde_json::Value::from(texts).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::MAX_PARTICIPANTS;

    #[test]
    fn the_statement_keeps_the_documented_number_of_participants() {
        assert_eq!(UPSERT.matches(&format!(" {MAX_PARTICIPANTS} ")).count(), 2);
    }
}
