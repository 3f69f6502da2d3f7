//! `agent_login_attempts`: logins that failed, by username and by address, on all replicas together.

use std::time::Duration;

use agentnet_proto::Timestamp;
use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;

use crate::StoreError;

/// Rows removed by one step.
const STEP: i64 = 5_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A username, whether somebody has it or not.
    Name,
    /// Where a client is.
    Address,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
        }
    }
}

/// How failures slow down what comes after them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// So many cost nothing.
    pub free: i32,
    /// The next ones cost 1, 2, 4, ... seconds, and at most this.
    pub longest: Duration,
    /// After so long without one all are forgotten.
    pub forget_after: Duration,
}

/// Takes an attempt into account as if it had failed, before it is looked at, so that many at once can't slip through.
/// `Some` is how long to wait instead.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn begin(
    db: &PgPool,
    kind: Kind,
    subject: &[u8; 32],
    pace: &Pace,
    now: Timestamp,
) -> Result<Option<Duration>, StoreError> {
    let failed = StoreError::query("agent_login_attempts.begin");
    let taken = sqlx::query(
        "INSERT INTO agent_login_attempts AS a (kind, subject, failures, next_at, expires_at) \
         VALUES ($1, $2, 1, CASE WHEN 1 < $4 THEN $3 ELSE $3 + interval '1 second' END, $3 + make_interval(secs => $6)) \
         ON CONFLICT (kind, subject) DO UPDATE SET \
             failures = CASE WHEN a.expires_at <= $3 THEN 1 ELSE a.failures + 1 END, \
             next_at = $3 + CASE WHEN a.expires_at <= $3 OR a.failures + 1 < $4 THEN interval '0' \
                 ELSE make_interval(secs => least(power(2, least(a.failures + 1 - $4, 20)), $5)) END, \
             expires_at = excluded.expires_at \
         WHERE a.next_at <= $3 OR a.expires_at <= $3",
    )
    .bind(kind.as_str())
    .bind(&subject[..])
    .bind(now.to_offset())
    .bind(pace.free)
    .bind(pace.longest.as_secs_f64())
    .bind(pace.forget_after.as_secs_f64())
    .execute(db)
    .await
    .map_err(&failed)?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    let next: Option<OffsetDateTime> =
        sqlx::query_scalar("SELECT next_at FROM agent_login_attempts WHERE kind = $1 AND subject = $2")
            .bind(kind.as_str())
            .bind(&subject[..])
            .fetch_optional(db)
            .await
            .map_err(&failed)?;
    let wait = next.map(|next| next - now.to_offset()).and_then(|wait| Duration::try_from(wait).ok());
    // Forgotten in between: the next attempt will pass.
    Ok(Some(wait.unwrap_or_default()))
}

/// The attempt succeeded: the username's failures are forgotten, the address has one less.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn succeeded(
    db: impl PgExecutor<'_>,
    name: Option<&[u8; 32]>,
    address: Option<&[u8; 32]>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "WITH name AS (DELETE FROM agent_login_attempts WHERE kind = 'name' AND subject = $1) \
         UPDATE agent_login_attempts SET failures = greatest(failures - 1, 0), next_at = least(next_at, $3) \
         WHERE kind = 'address' AND subject = $2",
    )
    .bind(name.map(|name| &name[..]))
    .bind(address.map(|address| &address[..]))
    .bind(now.to_offset())
    .execute(db)
    .await
    .map(drop)
    .map_err(StoreError::query("agent_login_attempts.succeeded"))
}

/// Deletes a step of what is forgotten; returns how many.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn forget_expired(pool: &PgPool) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM agent_login_attempts WHERE (kind, subject) IN (SELECT kind, subject FROM agent_login_attempts \
         WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(STEP)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_login_attempts.forget_expired"))
}
