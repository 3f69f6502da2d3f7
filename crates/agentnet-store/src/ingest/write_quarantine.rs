//! Rows of `agent_quarantine`.

use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use super::item::QuarantineRow;
use crate::StoreError;

/// Keeps what can't be stored otherwise. A copy of the same stream position is kept once.
pub(super) async fn insert(conn: &mut PgConnection, rows: &[&QuarantineRow]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agent_quarantine (subject, body, headers, code, detail, stream_seq, received_at)
         SELECT * FROM unnest($1::text[], $2::bytea[], $3::jsonb[], $4::text[], $5::text[], $6::bigint[],
                              $7::timestamptz[])
         ON CONFLICT (stream_seq, received_at) DO NOTHING",
    )
    .bind(rows.iter().map(|r| r.subject.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| &r.body[..]).collect::<Vec<&[u8]>>())
    .bind(rows.iter().map(|r| Json(Value::Object(r.headers.clone()))).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.code).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.detail.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.stream_seq).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.received_at.to_offset()).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_quarantine.insert"))
}
