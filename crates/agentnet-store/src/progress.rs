//! How far the persisters are with the stream, and whether anything left it without being committed.
//!
//! In a stream that holds only what isn't committed yet, everything older than its oldest message is. And every
//! sequence below that one must have been noted by the transaction that committed it: what wasn't is a hole. Sequences
//! are those of one incarnation of the stream, told by its creation time.

use agentnet_proto::Timestamp;
use sqlx::{Connection, PgConnection, PgExecutor, Row, postgres::PgRow};
use time::OffsetDateTime;

use crate::StoreError;

/// What the stream said about itself at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState<'a> {
    /// Name of the stream.
    pub stream: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// The oldest sequence it holds, or the next one when it is empty.
    pub first_seq: u64,
    /// Everything it took until then is committed.
    pub committed_at: Timestamp,
    /// Its clock.
    pub now: Timestamp,
}

/// What is known after a look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Sequences of this stream that were never committed, ever.
    pub missing: u64,
    /// The newest of them that were found.
    pub missing_last: Option<String>,
    /// How long ago they were found, in seconds by the database's clock.
    pub missing_age: Option<f64>,
    /// What this look found, if anything.
    pub found: Option<String>,
}

/// Takes note of a state of the stream; every replica may do so at any time. A hole is found once. The state must have
/// been read before this is called.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn note(conn: &mut PgConnection, state: &StreamState<'_>) -> Result<Progress, StoreError> {
    let failed = StoreError::query("agent_stream_progress.note");
    let mut tx = conn.begin().await.map_err(&failed)?;
    // Losing the newest note in a crash of the server is harmless: an older one is true too.
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await.map_err(&failed)?;
    let started = sqlx::query(START)
        .bind(state.stream)
        .bind(state.created_at.to_offset())
        .bind(seq(state.first_seq))
        .bind(state.committed_at.to_offset())
        .bind(state.now.to_offset())
        .execute(&mut *tx)
        .await
        .map_err(&failed)?;
    if started.rows_affected() == 0 {
        // A late answer about a stream that has been replaced since.
        tx.rollback().await.map_err(&failed)?;
        return Ok(Progress::default());
    }
    // A row that its persister is writing at this moment is left for the next look; without it holes can't be told.
    let (rows, complete): (i64, bool) = sqlx::query_as(GATHER)
        .bind(state.stream)
        .bind(state.created_at.to_offset())
        .fetch_one(&mut *tx)
        .await
        .map_err(&failed)?;
    let row = sqlx::query(FINISH)
        .bind(state.stream)
        .bind(seq(state.first_seq))
        .bind(complete)
        .fetch_one(&mut *tx)
        .await
        .map_err(&failed)?;
    tx.commit().await.map_err(&failed)?;
    tracing::trace!(rows, complete, first_seq = state.first_seq, "progress noted");
    progress(&row).map_err(&failed)
}

/// Another incarnation of the stream starts from its first message.
const START: &str = "
INSERT INTO agent_stream_progress AS p (stream, created_at, base_seq, committed_at, clock_ahead, updated_at)
VALUES ($1, $2, $3, $4, $5::timestamptz - clock_timestamp(), clock_timestamp())
ON CONFLICT (stream) DO UPDATE SET
    committed_at = excluded.committed_at,
    clock_ahead = excluded.clock_ahead,
    updated_at = excluded.updated_at,
    base_seq = CASE WHEN p.created_at = excluded.created_at THEN p.base_seq ELSE excluded.base_seq END,
    committed = CASE WHEN p.created_at = excluded.created_at THEN p.committed ELSE '{}' END,
    created_at = excluded.created_at
WHERE p.created_at <= excluded.created_at";

const GATHER: &str = "
WITH here AS (SELECT replica FROM agent_stream_commits WHERE stream = $1 AND created_at = $2),
     mine AS (SELECT created_at, replica FROM agent_stream_commits WHERE stream = $1 AND created_at <= $2
         FOR UPDATE SKIP LOCKED),
     taken AS (
        DELETE FROM agent_stream_commits c USING mine
        WHERE c.stream = $1 AND c.created_at = mine.created_at AND c.replica = mine.replica
        RETURNING c.created_at, c.replica, c.seqs),
     put AS (
        UPDATE agent_stream_progress SET committed = committed
            + coalesce((SELECT range_agg(seqs) FROM taken WHERE created_at = $2), '{}')
        WHERE stream = $1)
SELECT (SELECT count(*) FROM taken), NOT EXISTS (SELECT replica FROM here EXCEPT SELECT replica FROM taken)";

/// Everything below the first message is accounted for from here on, as committed or as missing.
const FINISH: &str = "
UPDATE agent_stream_progress AS p SET
    committed = CASE WHEN $3 THEN p.committed + span.below ELSE p.committed END,
    missing = p.missing + hole.size,
    missing_last = coalesce(hole.text, p.missing_last),
    missing_at = CASE WHEN hole.text IS NULL THEN p.missing_at ELSE clock_timestamp() END
FROM agent_stream_progress AS o,
    LATERAL (SELECT CASE WHEN o.base_seq < $2 THEN int8multirange(int8range(o.base_seq, $2))
                         ELSE '{}'::int8multirange END AS below) AS span,
    LATERAL (SELECT CASE WHEN $3 THEN span.below - o.committed ELSE '{}'::int8multirange END AS gaps) AS lost,
    LATERAL (SELECT coalesce(sum(upper(g) - lower(g)), 0)::bigint AS size,
                    CASE WHEN isempty(lost.gaps) THEN NULL ELSE left(lost.gaps::text, 500) END AS text
             FROM unnest(lost.gaps) AS g) AS hole
WHERE p.stream = $1 AND o.stream = p.stream
RETURNING p.missing, p.missing_last, extract(epoch FROM clock_timestamp() - p.missing_at)::float8 AS missing_age,
    hole.text AS found";

fn progress(row: &PgRow) -> Result<Progress, sqlx::Error> {
    Ok(Progress {
        missing: u64::try_from(row.try_get::<i64, _>("missing")?).unwrap_or(0),
        missing_last: row.try_get("missing_last")?,
        missing_age: row.try_get("missing_age")?,
        found: row.try_get("found")?,
    })
}

fn seq(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Until when everything the stream took is committed, and the stream's clock now; `None` before a persister ran.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn committed(db: impl PgExecutor<'_>) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let row: (Option<OffsetDateTime>, OffsetDateTime) =
        sqlx::query_as("SELECT agentnet_committed_at(), agentnet_stream_now()")
            .fetch_one(db)
            .await
            .map_err(StoreError::query("agent_stream_progress.committed"))?;
    Ok(row.0.map(|committed| (committed.into(), row.1.into())))
}

/// Sequences as text that Postgres reads as a multirange.
pub(crate) fn multirange(mut seqs: Vec<u64>) -> String {
    use std::fmt::Write as _;
    seqs.sort_unstable();
    seqs.dedup();
    let mut text = String::from("{");
    let mut runs = seqs.chunk_by(|a, b| a + 1 == *b).peekable();
    while let Some(run) = runs.next() {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let comma = if runs.peek().is_some() { "," } else { "" };
        // A String refuses no write.
        let _ = write!(text, "[{first},{}){comma}", last + 1);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::multirange;

    #[test]
    fn runs_become_ranges() {
        assert_eq!(multirange(vec![]), "{}");
        assert_eq!(multirange(vec![3, 1, 2, 2]), "{[1,4)}");
        assert_eq!(multirange(vec![9, 1, 7, 8]), "{[1,2),[7,10)}");
    }
}
