//! The limits: what NATS and Postgres do when nothing else is asked of them.

use std::time::{Duration, Instant};

use agentnet::proto::{Envelope, SystemClock, envelope::body_hash};
use anyhow::Result;
use async_nats::Client;
use bytes::Bytes;
use sqlx::{Connection as _, PgConnection, types::time::OffsetDateTime};

use super::{Size, children::ECHO, load};

/// As large as the envelopes that are sent beside it.
const BODY: Bytes = Bytes::from_static(&[b'x'; 640]);
const BATCH: usize = 500;

/// Requests and replies through one nats-server, to a responder in another process.
pub async fn requests(client: &Client, in_flight: usize, size: &Size) -> Result<load::Run> {
    let client = client.clone();
    load::closed(in_flight, usize::MAX, size.turn, move || {
        let client = client.clone();
        async move {
            client.request(ECHO, BODY).await?;
            Ok(())
        }
    })
    .await
}

/// Publishes, and waits once for the socket to have taken them all.
pub async fn publishes(client: &Client, messages: usize) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..messages {
        client.publish("bench.nowhere", BODY).await?;
    }
    client.flush().await?;
    Ok(messages as f64 / started.elapsed().as_secs_f64())
}

/// Rows of `agent_messages` a second: one connection, 500 rows a statement and a transaction, all its indexes, and
/// none of the deliveries, receipts and thread counters.
pub async fn inserts(database: &str, messages: usize, turn: Duration) -> Result<f64> {
    let mut connection = PgConnection::connect(database).await?;
    let bodies: Vec<(String, Vec<u8>)> = (0..messages).map(envelope).collect::<Result<_>>()?;
    let started = Instant::now();
    let mut written = 0;
    for chunk in bodies.chunks(BATCH) {
        if started.elapsed() >= turn {
            break;
        }
        insert(&mut connection, chunk).await?;
        written += chunk.len();
    }
    let took = started.elapsed();
    connection.close().await?;
    Ok(written as f64 / took.as_secs_f64())
}

fn envelope(number: usize) -> Result<(String, Vec<u8>)> {
    let id = format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
    let account = "acct_01jz0000000000000000000000";
    let body = serde_json::json!({
        "message_id": id, "from_agent": "bench-sender", "from_account_id": account, "to_agent": account,
        "from_session_tag": "registry_01jz0000000000000000000000", "to_account_id": account,
        "payload": super::rows::payload(), "sent_at": "2026-02-21T08:00:00.123456Z", "ttl_ms": 30_000,
        "expires_at": "2026-02-21T08:00:30.123456Z", "trace_id": id, "thread_id": format!("thread_{id}"),
        "kind": "direct", "schema_version": "1.2",
    });
    let envelope: Envelope = serde_json::from_value(body)?;
    Ok((id, envelope.encode()?))
}

async fn insert(connection: &mut PgConnection, rows: &[(String, Vec<u8>)]) -> Result<()> {
    let now = SystemClock::shared().now().to_offset();
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let threads: Vec<String> = ids.iter().map(|id| format!("thread_{id}")).collect();
    let bodies: Vec<&[u8]> = rows.iter().map(|(_, body)| &body[..]).collect();
    let hashes: Vec<Vec<u8>> = bodies.iter().map(|body| body_hash(body).to_vec()).collect();
    let times: Vec<OffsetDateTime> = vec![now; rows.len()];
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, from_account_id, from_session_tag, to_account_id, to_agent,
             kind, schema_version, trace_id, sent_at, received_at, expires_at, envelope, body_sha256, search)
         SELECT id, thread, $1, $2, $1, $1, 'direct', '1.2', id, at, at, at, body, hash, to_tsvector('simple', $3)
         FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::bytea[], $8::bytea[])
              AS m (id, thread, at, body, hash)",
    )
    .bind("acct_01jz0000000000000000000000")
    .bind("registry_01jz0000000000000000000000")
    .bind(super::rows::TEXT)
    .bind(&ids)
    .bind(&threads)
    .bind(&times)
    .bind(&bodies)
    .bind(&hashes)
    .execute(connection)
    .await?;
    Ok(())
}
