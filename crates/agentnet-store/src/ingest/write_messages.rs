//! Rows of `agent_messages`.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::item::MessageRow;
use crate::StoreError;

const INSERT: &str = "
INSERT INTO agent_messages (
    message_id, thread_id, parent_message_id, from_account_id, from_session_tag, to_account_id, to_agent, kind,
    schema_version, idempotency_key, trace_id, sent_at, received_at, expires_at, envelope, signature, body_sha256, search)
SELECT message_id, thread_id, parent_message_id, from_account_id, from_session_tag, to_account_id, to_agent, kind,
       schema_version, idempotency_key, trace_id, sent_at, received_at, expires_at, envelope, signature, body_sha256,
       to_tsvector('simple', search)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::bytea[],
            $16::text[], $17::bytea[], $18::text[], $19::text[])
     AS m (message_id, thread_id, parent_message_id, from_account_id, from_session_tag, to_account_id, to_agent, kind,
           schema_version, idempotency_key, trace_id, sent_at, received_at, expires_at, envelope, signature,
           body_sha256, search, mailbox)
WHERE NOT EXISTS (SELECT FROM agent_accounts s WHERE s.status = 'suspended' AND s.account_id = m.from_account_id)
  AND NOT EXISTS (SELECT FROM agent_blocks b WHERE b.account_id = m.mailbox AND b.blocked_id = m.from_account_id)
ON CONFLICT (message_id) DO NOTHING
RETURNING message_id";

/// Inserts those that aren't there yet, and whose sender is neither locked out nor blocked by the recipient, and returns
/// their ids. `rows` are in key order, so that replicas that insert the same ids wait for each other in one direction only.
pub(super) async fn insert(
    conn: &mut PgConnection,
    rows: &[&MessageRow],
) -> Result<HashSet<String>, StoreError> {
    let texts = |column: fn(&MessageRow) -> &str| rows.iter().map(|row| column(row)).collect::<Vec<&str>>();
    let opt_texts = |column: fn(&MessageRow) -> Option<&str>| {
        rows.iter().map(|row| column(row)).collect::<Vec<Option<&str>>>()
    };
    let times =
        |column: fn(&MessageRow) -> OffsetDateTime| rows.iter().map(|row| column(row)).collect::<Vec<_>>();
    let inserted: Vec<String> = sqlx::query_scalar(INSERT)
        .bind(texts(|r| &r.message_id))
        .bind(texts(|r| &r.thread_id))
        .bind(opt_texts(|r| r.parent_message_id.as_deref()))
        .bind(opt_texts(|r| r.from_account_id.as_deref()))
        .bind(opt_texts(|r| r.from_session_tag.as_deref()))
        .bind(opt_texts(|r| r.to_account_id.as_deref()))
        .bind(texts(|r| &r.to_agent))
        .bind(texts(|r| &r.kind))
        .bind(texts(|r| &r.schema_version))
        .bind(opt_texts(|r| r.idempotency_key.as_deref()))
        .bind(opt_texts(|r| r.trace_id.as_deref()))
        .bind(times(|r| r.sent_at.to_offset()))
        .bind(times(|r| r.received_at.to_offset()))
        .bind(rows.iter().map(|r| r.expires_at.map(|at| at.to_offset())).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| &r.body[..]).collect::<Vec<&[u8]>>())
        .bind(opt_texts(|r| r.signature.as_deref()))
        .bind(rows.iter().map(|r| &r.body_sha256[..]).collect::<Vec<&[u8]>>())
        .bind(texts(|r| &r.search))
        .bind(opt_texts(|r| r.mailbox.as_deref()))
        .fetch_all(conn)
        .await
        .map_err(StoreError::query("agent_messages.insert"))?;
    Ok(inserted.into_iter().collect())
}

/// What is stored under a message_id.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) to_agent: String,
    pub(super) body_sha256: Vec<u8>,
}

/// Looks up messages that are stored, this transaction's included.
pub(super) async fn known(
    conn: &mut PgConnection,
    ids: &[&str],
) -> Result<HashMap<String, Known>, StoreError> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT message_id, to_agent, body_sha256 FROM agent_messages WHERE message_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await
    .map_err(StoreError::query("agent_messages.known"))?;
    Ok(rows.into_iter().map(|(id, to_agent, body_sha256)| (id, Known { to_agent, body_sha256 })).collect())
}
