//! Finding accounts by name, capability and status.

use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, types::Json};
use std::time::Duration;

use crate::StoreError;
use crate::accounts::{Account, AccountColumns};

/// Which accounts by whether they have a session online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All.
    Any,
    /// Only those with a session online.
    Online,
    /// Only those without.
    Offline,
}

/// What to search for.
#[derive(Debug, Clone, Copy)]
pub struct AccountFilter<'a> {
    /// Part of the username or display name, in any case; "" is all. `%` and `_` mean themselves.
    pub query: &'a str,
    /// Exactly this capability.
    pub capability: Option<&'a str>,
    /// A system of its own of exactly this type.
    pub sub_system_type: Option<&'a str>,
    /// Exactly this account status.
    pub status: Option<&'a str>,
    /// Private accounts are shown to themselves and, with `None`, to everybody.
    pub public_for: Option<&'a str>,
    /// By sessions online.
    pub presence: Presence,
    /// A session not heard of for longer doesn't count as online.
    pub stale_after: Duration,
    /// Most rows.
    pub limit: i64,
}

/// An account with the number of its sessions online.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAccount {
    /// The account.
    pub account: Account,
    /// Its sessions online.
    pub online_sessions: i64,
}

#[derive(FromRow)]
struct FoundColumns {
    #[sqlx(flatten)]
    account: AccountColumns,
    online_sessions: i64,
}

impl From<FoundColumns> for FoundAccount {
    fn from(row: FoundColumns) -> Self {
        Self { account: row.account.into(), online_sessions: row.online_sessions }
    }
}

/// Accounts that match, most sessions online first, then by username.
///
/// Two queries, because those online are few and have to be counted, while those offline come straight out of the
/// username index.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn search(pool: &PgPool, filter: &AccountFilter<'_>) -> Result<Vec<FoundAccount>, StoreError> {
    let mut found = Vec::new();
    if filter.presence != Presence::Offline {
        let mut sql = QueryBuilder::new("WITH online AS (");
        push_online(&mut sql, filter);
        sql.push(") SELECT a.*, o.online_sessions FROM online o JOIN agent_accounts a USING (account_id) WHERE true");
        push_filter(&mut sql, filter);
        sql.push(" ORDER BY o.online_sessions DESC, a.username LIMIT ").push_bind(filter.limit);
        found = fetch(pool, &mut sql).await?;
    }
    let left = filter.limit - i64::try_from(found.len()).unwrap_or(filter.limit);
    if filter.presence != Presence::Online && left > 0 {
        let mut sql = QueryBuilder::new("WITH online AS (");
        push_online(&mut sql, filter);
        sql.push(
            ") SELECT a.*, 0::bigint AS online_sessions FROM agent_accounts a \
             WHERE a.account_id NOT IN (SELECT account_id FROM online)",
        );
        push_filter(&mut sql, filter);
        sql.push(" ORDER BY a.username LIMIT ").push_bind(left);
        found.append(&mut fetch(pool, &mut sql).await?);
    }
    Ok(found)
}

fn push_online(sql: &mut QueryBuilder<Postgres>, filter: &AccountFilter<'_>) {
    sql.push(
        "SELECT account_id, count(*) AS online_sessions FROM agent_sessions \
         WHERE status = 'online' AND account_id IS NOT NULL AND last_seen > now() - make_interval(secs => ",
    );
    sql.push_bind(filter.stale_after.as_secs_f64());
    sql.push(") GROUP BY account_id");
}

fn push_filter(sql: &mut QueryBuilder<Postgres>, filter: &AccountFilter<'_>) {
    // The network's own accounts are nobody to talk to.
    sql.push(" AND a.kind IS DISTINCT FROM 'service'");
    if !filter.query.is_empty() {
        let pattern = like_pattern(filter.query);
        sql.push(" AND (a.username ILIKE ").push_bind(pattern.clone());
        sql.push(" OR a.display_name ILIKE ").push_bind(pattern).push(")");
    }
    if let Some(capability) = filter.capability {
        sql.push(" AND a.capabilities @> ").push_bind(Json([capability.to_owned()]));
    }
    if let Some(kind) = filter.sub_system_type {
        sql.push(" AND (a.metadata #> '{metadata,sub_systems}') @> ");
        sql.push_bind(Json(serde_json::json!([{ "sub_system_type": kind }])));
    }
    if let Some(reader) = filter.public_for {
        sql.push(" AND (a.visibility <> 'private' OR a.account_id = ").push_bind(reader.to_owned()).push(")");
    }
    if let Some(status) = filter.status {
        sql.push(" AND a.status = ").push_bind(status.to_owned());
    }
}

/// `%text%` with LIKE's own characters taken literally.
pub(crate) fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

async fn fetch(pool: &PgPool, sql: &mut QueryBuilder<Postgres>) -> Result<Vec<FoundAccount>, StoreError> {
    sql.build_query_as::<FoundColumns>()
        .fetch_all(pool)
        .await
        .map(|rows| rows.into_iter().map(FoundAccount::from).collect())
        .map_err(StoreError::query("agent_accounts.search"))
}

#[cfg(test)]
mod tests {
    use super::like_pattern;

    #[test]
    fn wildcards_are_literal() {
        assert_eq!(like_pattern(r"50%_a\b"), r"%50\%\_a\\b%");
    }
}
