//! Rows of `agent_deliveries`.

use std::collections::HashSet;

use agentnet_proto::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::fold::{Columns, Deliveries, HELD_BACK_PAUSE};
use super::item::ReceiptRow;
use super::taken::Noted;
use crate::StoreError;

/// `w.wins`: whether the incoming receipt decides, by the ranks of `fold.rs`. What the network ended itself (expired,
/// dead) yields to `processed` only. What was taken back from a lost session isn't given to it again by a copy of its
/// `accepted`.
///
/// The statement also notes what of the stream is committed now (`taken.rs`), which costs no trip of its own then.
const UPSERT: &str = "
WITH noted AS (
    INSERT INTO agent_stream_commits AS c (stream, created_at, replica, seqs)
    SELECT $20::text, $21::timestamptz, $22::text, $23::text::int8multirange WHERE $20 IS NOT NULL
    ON CONFLICT (stream, created_at, replica) DO UPDATE SET seqs = c.seqs + excluded.seqs),
merged AS (
INSERT INTO agent_deliveries AS d (
    message_id, recipient, state, sender_account_id, thread_id, handler_account_id, owner_session, receipt_at,
    next_attempt_at, lease_until, expires_at, last_code, last_detail, has_message, created_at, accepted_at, finished_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
    $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::boolean[],
    $15::timestamptz[], $16::timestamptz[], $17::timestamptz[])
ON CONFLICT (message_id, recipient) DO UPDATE SET
    sender_account_id = coalesce(d.sender_account_id, excluded.sender_account_id),
    thread_id = coalesce(d.thread_id, excluded.thread_id),
    expires_at = coalesce(d.expires_at, excluded.expires_at),
    has_message = d.has_message OR excluded.has_message,
    accepted_at = least(d.accepted_at, excluded.accepted_at),
    (state, handler_account_id, owner_session, receipt_at, last_code, last_detail, created_at, lease_until, finished_at,
     next_attempt_at) = (
        SELECT m.state, m.handler_account_id, m.owner_session, m.receipt_at, m.last_code, m.last_detail, m.created_at,
            m.lease_until,
            CASE
                WHEN m.state IN ('pending', 'accepted') THEN NULL
                WHEN d.state = excluded.state THEN least(d.finished_at, excluded.finished_at)
                WHEN m.wins THEN excluded.finished_at
                ELSE d.finished_at
            END,
            CASE
                WHEN m.state NOT IN ('pending', 'accepted') THEN NULL
                WHEN NOT m.wins AND NOT m.arrives THEN d.next_attempt_at
                WHEN coalesce(d.next_attempt_at, excluded.next_attempt_at) IS NULL THEN NULL
                WHEN m.receipt_at IS NULL THEN excluded.next_attempt_at
                WHEN m.state = 'accepted' THEN m.lease_until
                WHEN m.last_code IN ('blocked', 'no_handler') THEN m.receipt_at + $18::interval
                ELSE m.receipt_at + least(greatest(m.receipt_at - m.created_at, $18::interval), $19::interval)
            END
        FROM (
            SELECT w.wins, w.arrives,
                CASE WHEN w.wins THEN excluded.state ELSE d.state END AS state,
                CASE WHEN w.wins THEN excluded.handler_account_id ELSE d.handler_account_id END AS handler_account_id,
                CASE WHEN w.wins THEN excluded.owner_session ELSE d.owner_session END AS owner_session,
                CASE WHEN w.wins THEN excluded.receipt_at ELSE d.receipt_at END AS receipt_at,
                CASE WHEN w.wins THEN excluded.last_code ELSE d.last_code END AS last_code,
                CASE WHEN w.wins THEN excluded.last_detail ELSE d.last_detail END AS last_detail,
                CASE WHEN w.wins THEN excluded.lease_until ELSE d.lease_until END AS lease_until,
                CASE WHEN excluded.has_message = d.has_message THEN least(d.created_at, excluded.created_at)
                     WHEN d.has_message THEN d.created_at
                     ELSE excluded.created_at
                END AS created_at
            FROM (
                SELECT excluded.has_message AND NOT d.has_message AS arrives,
                    excluded.receipt_at IS NOT NULL AND (
                        CASE WHEN d.state = 'pending' AND d.attempts > 0 AND excluded.state = 'accepted'
                            AND excluded.receipt_at < d.receipt_at THEN 0 ELSE
                        CASE excluded.state WHEN 'processed' THEN 4 WHEN 'rejected' THEN 3 WHEN 'pending' THEN 0
                            ELSE CASE WHEN excluded.last_code = 'duplicate' THEN 1 ELSE 2 END END END,
                        excluded.receipt_at
                    ) > (
                        CASE d.state WHEN 'processed' THEN 4 WHEN 'pending' THEN 0
                            WHEN 'accepted' THEN CASE WHEN d.last_code = 'duplicate' THEN 1 ELSE 2 END ELSE 3 END,
                        CASE WHEN d.state IN ('expired', 'dead') THEN 'infinity'
                            ELSE coalesce(d.receipt_at, '-infinity') END
                    ) AS wins
            ) AS w
        ) AS m
    )
RETURNING d.message_id, d.recipient, d.redeliveries)
SELECT message_id, recipient FROM merged WHERE redeliveries > 0";

/// Writes new rows and merges into those that are there. A row that only receipts made is one of their own account,
/// and becomes a delivery when its message arrives. Returns those that the network has delivered again.
pub(super) async fn merge(
    conn: &mut PgConnection,
    deliveries: &Deliveries<'_>,
    noted: Option<&Noted<'_>>,
) -> Result<HashSet<(String, String)>, StoreError> {
    let (keys, rows): (Vec<(&str, &str)>, Vec<Columns<'_>>) = deliveries.rows().unzip();
    let times = |column: fn(&Columns<'_>) -> Option<Timestamp>| {
        rows.iter().map(|row| column(row).map(Timestamp::to_offset)).collect::<Vec<Option<OffsetDateTime>>>()
    };
    let receipt_texts = |column: for<'a> fn(&'a ReceiptRow) -> Option<&'a str>| {
        rows.iter().map(|row| row.receipt.and_then(column)).collect::<Vec<Option<&str>>>()
    };
    let redelivered: Vec<(String, String)> = sqlx::query_as(UPSERT)
        .bind(keys.iter().map(|key| key.0).collect::<Vec<&str>>())
        .bind(keys.iter().map(|key| key.1).collect::<Vec<&str>>())
        .bind(rows.iter().map(|r| r.state).collect::<Vec<&str>>())
        .bind(rows.iter().map(|r| r.message.and_then(|m| m.from_account_id.as_deref())).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.message.map(|m| m.thread_id.as_str())).collect::<Vec<_>>())
        .bind(receipt_texts(|r| Some(&r.account_id)))
        .bind(receipt_texts(|r| r.session_tag.as_deref()))
        .bind(times(|r| r.receipt.map(|receipt| receipt.received_at)))
        .bind(times(|r| r.next_attempt_at))
        .bind(times(|r| r.lease_until))
        .bind(times(|r| r.message.and_then(|m| m.expires_at)))
        .bind(receipt_texts(|r| r.code.as_deref()))
        .bind(receipt_texts(|r| r.detail.as_deref()))
        .bind(rows.iter().map(|r| r.message.is_some()).collect::<Vec<bool>>())
        .bind(rows.iter().map(|r| r.created_at.to_offset()).collect::<Vec<_>>())
        .bind(times(|r| r.accepted_at))
        .bind(times(|r| r.finished_at))
        .bind(HELD_BACK_PAUSE.0)
        .bind(HELD_BACK_PAUSE.1)
        .bind(noted.map(|n| n.stream))
        .bind(noted.map(|n| n.created_at.to_offset()))
        .bind(noted.map(|n| n.replica))
        .bind(noted.map(|n| n.seqs.as_str()))
        .fetch_all(conn)
        .await
        .map_err(StoreError::query("agent_deliveries.merge"))?;
    Ok(redelivered.into_iter().collect())
}
