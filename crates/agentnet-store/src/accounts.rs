//! `agent_accounts`: who exists, and the rules by which a registering agent finds or gets its account.

use agentnet_proto::{Timestamp, ids::IdGen, username::normalize_username};
use serde_json::{Map, Value, json};
use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use time::OffsetDateTime;

use crate::StoreError;

/// Tries with six random characters before ten are taken.
const SHORT_SUFFIX_TRIES: usize = 10;

/// One account.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Routing identity.
    pub account_id: String,
    /// Unique name, normalised.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// What the account says about itself.
    pub bio: String,
    /// URL of its picture; may be empty.
    pub avatar_url: String,
    /// What its last registered session can do.
    pub capabilities: Vec<String>,
    /// What its agents tell about themselves.
    pub metadata: Map<String, Value>,
    /// `public` or `private`.
    pub visibility: String,
    /// `active`, `suspended`, ...
    pub status: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
    /// `agent`, `human`, `service` or `guest`.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When an agent registered with it last.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
pub(crate) struct AccountColumns {
    account_id: String,
    username: String,
    display_name: String,
    bio: String,
    avatar_url: String,
    capabilities: Json<Value>,
    metadata: Json<Value>,
    visibility: String,
    status: String,
    role: String,
    kind: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<AccountColumns> for Account {
    fn from(row: AccountColumns) -> Self {
        Self {
            account_id: row.account_id,
            username: row.username,
            display_name: row.display_name,
            bio: row.bio,
            avatar_url: row.avatar_url,
            capabilities: strings(row.capabilities.0),
            metadata: object(row.metadata.0),
            visibility: row.visibility,
            status: row.status,
            role: row.role,
            kind: row.kind,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// The strings of a list, which is all this crate ever writes there.
pub(crate) fn strings(value: Value) -> Vec<String> {
    let Value::Array(items) = value else { return Vec::new() };
    let text = |item| match item {
        Value::String(text) => Some(text),
        _ => None,
    };
    items.into_iter().filter_map(text).collect()
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The account of that id.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn by_id(db: impl PgExecutor<'_>, account_id: &str) -> Result<Option<Account>, StoreError> {
    sqlx::query_as::<_, AccountColumns>("SELECT * FROM agent_accounts WHERE account_id = $1")
        .bind(account_id)
        .fetch_optional(db)
        .await
        .map(|row| row.map(Account::from))
        .map_err(StoreError::query("agent_accounts.by_id"))
}

/// The accounts of these ids or normalised usernames, as pairs of id and username.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn named(
    db: impl PgExecutor<'_>,
    ids: &[&str],
    usernames: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    sqlx::query_as(
        "SELECT account_id, username FROM agent_accounts WHERE account_id = ANY($1) OR username = ANY($2)",
    )
    .bind(ids)
    .bind(usernames)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_accounts.named"))
}

/// Locks the account's row until the transaction ends, so that what it may have a number of is counted right.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub(crate) async fn lock(tx: &mut PgConnection, account_id: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT FROM agent_accounts WHERE account_id = $1 FOR NO KEY UPDATE")
        .bind(account_id)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_accounts.lock"))
}

/// The id of the account with that (normalised) username.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn id_of_username(db: impl PgExecutor<'_>, username: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT account_id FROM agent_accounts WHERE username = $1")
        .bind(username)
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_accounts.id_of_username"))
}

/// Who an account is to the network.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Standing {
    /// Routing identity.
    pub account_id: String,
    /// Unique name, normalised.
    pub username: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
    /// `active`, `suspended`, ...
    pub status: String,
}

/// The standing of an account.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn standing(db: impl PgExecutor<'_>, account_id: &str) -> Result<Option<Standing>, StoreError> {
    sqlx::query_as("SELECT account_id, username, role, status FROM agent_accounts WHERE account_id = $1")
        .bind(account_id)
        .fetch_optional(db)
        .await
        .map_err(StoreError::query("agent_accounts.standing"))
}

/// The account that a key speaks for.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct KeyOwner {
    /// The account.
    #[sqlx(flatten)]
    pub standing: Standing,
    /// Until when, of a key that a login bound; `None` for the account's own.
    pub session_until: Option<OffsetDateTime>,
}

/// The account that a key speaks for now; of several (only open and signed mode allow that) the one it was bound to last.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn owner_of_key(
    db: impl PgExecutor<'_>,
    public_key: &str,
    now: Timestamp,
) -> Result<Option<KeyOwner>, StoreError> {
    sqlx::query_as(
        "SELECT account_id, username, role, status, k.expires_at AS session_until \
         FROM agent_keys k JOIN agent_accounts USING (account_id) \
         WHERE public_key = $1 AND revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) \
         ORDER BY bound_at DESC, account_id LIMIT 1",
    )
    .bind(public_key)
    .bind(now.to_offset())
    .fetch_optional(db)
    .await
    .map_err(StoreError::query("agent_accounts.owner_of_key"))
}

/// What a registering agent asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Its role label; the username is made from it when none is given.
    pub agent_id: &'a str,
    /// The username it wants.
    pub username: Option<&'a str>,
    /// The account it says it has.
    pub account_id: Option<&'a str>,
}

/// The account and username an agent gets, before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The account.
    pub account_id: String,
    /// The username it will have.
    pub username: String,
    /// The username it has now; `None` when the account is new.
    pub current_username: Option<String>,
}

impl Plan {
    /// Whether the account has to be made.
    pub const fn is_new(&self) -> bool {
        self.current_username.is_none()
    }
}

/// Finds out which account and username a wish leads to. Reads only: nothing may change before the caller has
/// proved who it is.
///
/// The original's rules: a known `account_id` is kept and takes the wanted username if that is free; an unknown
/// one is made with it; without one the account that has the wanted username is joined, or a new one made. A taken
/// username gets a random suffix, `attempt` (from 0) deciding its length.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn plan(
    db: impl PgExecutor<'_>,
    wish: &Wish<'_>,
    ids: &dyn IdGen,
    attempt: usize,
) -> Result<Plan, StoreError> {
    let desired = desired_username(wish, ids);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT account_id, username FROM agent_accounts WHERE account_id = $1 OR username = $2",
    )
    .bind(wish.account_id)
    .bind(&desired)
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_accounts.plan"))?;
    let own = rows.iter().find(|(id, _)| Some(id.as_str()) == wish.account_id);
    let holder = rows.iter().find(|(_, name)| *name == desired);
    Ok(match (wish.account_id, own, holder) {
        (_, Some((id, name)), holder) => {
            let taken = holder.is_some_and(|(other, _)| other != id);
            let username = if taken { name.clone() } else { desired };
            Plan { account_id: id.clone(), username, current_username: Some(name.clone()) }
        }
        (Some(id), None, holder) => {
            let username = if holder.is_some() { suffixed(&desired, ids, attempt) } else { desired };
            Plan { account_id: id.to_owned(), username, current_username: None }
        }
        (None, None, Some((id, name))) => {
            Plan { account_id: id.clone(), username: name.clone(), current_username: Some(name.clone()) }
        }
        (None, None, None) => {
            Plan { account_id: ids.account_id(), username: desired, current_username: None }
        }
    })
}

fn desired_username(wish: &Wish<'_>, ids: &dyn IdGen) -> String {
    let normalized = |text: &str| Some(normalize_username(text)).filter(|name| !name.is_empty());
    wish.username
        .and_then(normalized)
        .or_else(|| normalized(wish.agent_id))
        .unwrap_or_else(|| format!("agent_{}", ids.suffix(8)))
}

fn suffixed(base: &str, ids: &dyn IdGen, attempt: usize) -> String {
    let (keep, random) = if attempt < SHORT_SUFFIX_TRIES { (24, 6) } else { (20, 10) };
    // Usernames are ASCII, so a byte is a character.
    format!("{}-{}", base.get(..keep).unwrap_or(base), ids.suffix(random))
}

/// What register writes about an account.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The agent's role label.
    pub agent_id: &'a str,
    /// Name for people.
    pub name: &'a str,
    /// Replaces what the account had; with none, what it chose itself stays.
    pub capabilities: &'a [String],
    /// Merged into what the account had, under `metadata`.
    pub metadata: &'a Map<String, Value>,
    /// Whether an account that is made now is a guest's.
    pub is_guest: bool,
}

/// Makes or updates the planned account. `false` when somebody was faster: the plan no longer holds, and the
/// transaction must be rolled back and begun anew with another plan.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn apply(
    tx: &mut PgConnection,
    plan: &Plan,
    presented: &Presented<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let metadata = Json(json!({ "agent_id": presented.agent_id, "metadata": presented.metadata }));
    let query = match &plan.current_username {
        None => sqlx::query(
            "INSERT INTO agent_accounts (account_id, username, display_name, capabilities, metadata, created_at, \
             updated_at, kind) VALUES ($1, $2, $3, $4, $5, $6, $6, $7) ON CONFLICT DO NOTHING",
        ),
        Some(_) => sqlx::query(
            "UPDATE agent_accounts SET username = $2, \
             display_name = CASE WHEN named THEN display_name ELSE $3 END, \
             capabilities = CASE WHEN capable AND $4 = '[]'::jsonb THEN capabilities ELSE $4 END, \
             capable = capable AND $4 = '[]'::jsonb, metadata = metadata || $5, updated_at = greatest(updated_at, $6) \
             WHERE account_id = $1 AND username = $7",
        ),
    };
    let query = query
        .bind(&plan.account_id)
        .bind(&plan.username)
        .bind(presented.name)
        .bind(Json(presented.capabilities))
        .bind(metadata)
        .bind(now.to_offset());
    let query = match &plan.current_username {
        None => query.bind(if presented.is_guest { "guest" } else { "agent" }),
        Some(current) => query.bind(current),
    };
    match query.execute(tx).await {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(error) if takes_username(&error) => Ok(false),
        Err(error) => Err(StoreError::query("agent_accounts.apply")(error)),
    }
}

/// What an account says about itself; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProfileUpdate<'a> {
    /// Name for people.
    pub display_name: Option<&'a str>,
    /// What the account says about itself.
    pub bio: Option<&'a str>,
    /// URL of a picture.
    pub avatar_url: Option<&'a str>,
    /// What the account can do.
    pub capabilities: Option<&'a [String]>,
    /// `public` or `private`.
    pub visibility: Option<&'a str>,
    /// Replaces `profile` of the account's metadata.
    pub metadata: Option<&'a Map<String, Value>>,
}

/// Changes what an account says about itself; `None` when there is no such account.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn update_profile(
    db: impl PgExecutor<'_>,
    account_id: &str,
    update: &ProfileUpdate<'_>,
    now: Timestamp,
) -> Result<Option<Account>, StoreError> {
    sqlx::query_as::<_, AccountColumns>(
        "UPDATE agent_accounts SET display_name = coalesce($2, display_name), named = named OR $2 IS NOT NULL, \
         bio = coalesce($3, bio), visibility = coalesce($4, visibility), \
         metadata = metadata || CASE WHEN $5::jsonb IS NULL THEN '{}' ELSE jsonb_build_object('profile', $5::jsonb) END, \
         avatar_url = coalesce($7, avatar_url), capabilities = coalesce($8, capabilities), \
         capable = capable OR $8 IS NOT NULL, \
         updated_at = greatest(updated_at, $6) WHERE account_id = $1 RETURNING *",
    )
    .bind(account_id)
    .bind(update.display_name)
    .bind(update.bio)
    .bind(update.visibility)
    .bind(update.metadata.map(Json))
    .bind(now.to_offset())
    .bind(update.avatar_url)
    .bind(update.capabilities.map(Json))
    .fetch_optional(db)
    .await
    .map(|row| row.map(Account::from))
    .map_err(StoreError::query("agent_accounts.update_profile"))
}

fn takes_username(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|db| db.constraint()) == Some("agent_accounts_username_key")
}
