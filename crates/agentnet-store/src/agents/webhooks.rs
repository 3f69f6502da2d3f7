//! Webhooks: whose mail is due, what came of posting it.

use std::time::Duration;

use agentnet_proto::SecretText;
use sqlx::{FromRow, PgConnection, PgExecutor};

use super::mail::{self, Fetched};
use crate::StoreError;

/// First pause before a post is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Notes that something waits for these accounts, as far as they have a webhook that is on.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn mark_due(db: impl PgExecutor<'_>, accounts: &[String]) -> Result<u64, StoreError> {
    sqlx::query(
        "UPDATE agent_cards SET webhook_due = true WHERE account_id = ANY($1) AND webhook_url IS NOT NULL \
         AND webhook_disabled_at IS NULL AND NOT webhook_due",
    )
    .bind(accounts)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(StoreError::query("agent_cards.mark_due"))
}

/// Deliveries to post to one webhook.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Whose.
    pub agent_id: String,
    /// Where to.
    pub url: String,
    /// What to sign them with.
    pub secret: SecretText,
    /// Which.
    pub deliveries: Vec<Fetched>,
}

#[derive(FromRow)]
struct Target {
    account_id: String,
    agent_id: String,
    webhook_url: String,
    webhook_secret: String,
    online: bool,
}

/// Leases at most about `limit` deliveries to post. Agents with a session on NATS get theirs there.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn claim(
    tx: &mut PgConnection,
    limit: i64,
    lease: Duration,
    max_attempts: i32,
) -> Result<Vec<Claimed>, StoreError> {
    // Turned off first: what comes due meanwhile turns it on again.
    let targets: Vec<Target> = sqlx::query_as(
        "WITH due AS (SELECT account_id FROM agent_cards WHERE webhook_due ORDER BY account_id LIMIT 32 \
                      FOR UPDATE SKIP LOCKED) \
         UPDATE agent_cards c SET webhook_due = false FROM due, agent_accounts a \
         WHERE c.account_id = due.account_id AND a.account_id = c.account_id \
         AND c.webhook_url IS NOT NULL AND c.webhook_secret IS NOT NULL AND c.webhook_disabled_at IS NULL \
         RETURNING c.account_id, coalesce(c.agent_id, a.username) AS agent_id, c.webhook_url, c.webhook_secret, \
         EXISTS (SELECT FROM agent_sessions s WHERE s.account_id = c.account_id AND s.status = 'online' \
             AND s.metadata #>> '{metadata,via}' IS NULL) AS online",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::query("agent_cards.claim"))?;
    let mut left = limit;
    let (mut claimed, mut again) = (Vec::new(), Vec::new());
    for target in targets {
        if target.online {
            continue;
        }
        if left <= 0 {
            again.push(target.account_id);
            continue;
        }
        let deliveries = mail::fetch(tx, &target.account_id, left, lease, max_attempts).await?;
        if deliveries.len() as i64 >= left {
            again.push(target.account_id);
        }
        left -= deliveries.len() as i64;
        if !deliveries.is_empty() {
            claimed.push(Claimed {
                agent_id: target.agent_id,
                url: target.webhook_url,
                secret: SecretText::new(target.webhook_secret),
                deliveries,
            });
        }
    }
    if !again.is_empty() {
        mark_due(&mut *tx, &again).await?;
    }
    Ok(claimed)
}

/// What came of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the webhook is off now.
    pub disabled: bool,
    /// Whether this failure turned it off.
    pub just_now: bool,
}

/// Notes that a webhook took a post, or why it didn't: what was to be posted waits then, longer each time, and after
/// `max_failures` in a row nothing is posted any more.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn failed(
    tx: &mut PgConnection,
    recipient: &str,
    message_id: &str,
    error: Option<&str>,
    max_failures: i32,
) -> Result<Outcome, StoreError> {
    let query_failed = StoreError::query("agent_cards.webhook_failed");
    let Some(error) = error else {
        sqlx::query(
            "UPDATE agent_cards SET webhook_failures = 0, webhook_error = NULL \
             WHERE account_id = $1 AND webhook_failures > 0",
        )
        .bind(recipient)
        .execute(tx)
        .await
        .map_err(query_failed)?;
        return Ok(Outcome { disabled: false, just_now: false });
    };
    // The attempt counts for the webhook, not for the message: it lives until its time is over, or somebody fetches it.
    sqlx::query(
        "UPDATE agent_deliveries d SET state = 'pending', lease_until = NULL, receipt_at = t.now, parked = false, \
             last_code = 'webhook_failed', last_detail = $3, redeliveries = d.redeliveries + 1, \
             next_attempt_at = t.now + least($4::interval * power(2, least(d.redeliveries, 20)), $5::interval) \
         FROM (SELECT agentnet_stream_now() AS now) t \
         WHERE d.message_id = $2 AND d.recipient = $1 AND d.state = 'accepted' AND d.owner_session = $6",
    )
    .bind(recipient)
    .bind(message_id)
    .bind(error)
    .bind(FIRST_PAUSE)
    .bind(LONGEST_PAUSE)
    .bind(mail::HTTP_SESSION)
    .execute(&mut *tx)
    .await
    .map_err(&query_failed)?;
    let row: Option<(bool, bool)> = sqlx::query_as(
        "UPDATE agent_cards c SET webhook_failures = c.webhook_failures + 1, webhook_error = $2, \
             webhook_disabled_at = CASE WHEN c.webhook_failures + 1 >= $3 THEN coalesce(c.webhook_disabled_at, now()) END \
         FROM agent_cards o WHERE c.account_id = $1 AND o.account_id = c.account_id \
         RETURNING c.webhook_disabled_at IS NOT NULL, c.webhook_disabled_at IS NOT NULL AND o.webhook_disabled_at IS NULL",
    )
    .bind(recipient)
    .bind(error)
    .bind(max_failures)
    .fetch_optional(tx)
    .await
    .map_err(query_failed)?;
    let (disabled, just_now) = row.unwrap_or((true, false));
    Ok(Outcome { disabled, just_now })
}
