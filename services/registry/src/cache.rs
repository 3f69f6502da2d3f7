//! Bounded memory of what most requests ask for. Entries live for seconds, and events from other replicas remove
//! them earlier, so that nobody serves old answers for long.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::{AccountEvent, Timestamp};
use agentnet_store::accounts::Account;
use agentnet_store::{StoreError, accounts, keys};
use moka::future::Cache;
use serde_json::json;

use crate::app::Failed;

/// Longest life of an entry if no event removes it earlier.
const LIFE: Duration = Duration::from_secs(5);
/// The same for keys, which every hello in signed mode asks for.
const KEY_LIFE: Duration = Duration::from_secs(60);
const MAX_NAMES: u64 = 20_000;
const MAX_ACCOUNT_BYTES: u64 = 8 << 20;

/// Accounts by id, ids by username, keys by account, accounts by key.
#[derive(Debug)]
pub struct Caches {
    accounts: Cache<String, Arc<KnownAccount>>,
    usernames: Cache<String, Arc<str>>,
    keys: Cache<String, Arc<str>>,
    owners: Cache<String, KnownOwner>,
}

/// Whom a key speaks for.
#[derive(Debug, Clone)]
pub struct KnownOwner {
    /// The account.
    pub account_id: Arc<str>,
    /// Until when, of a key that a login bound; `None` for the account's own.
    pub session_until: Option<Timestamp>,
}

impl KnownOwner {
    fn is_over(&self, now: Timestamp) -> bool {
        self.session_until.is_some_and(|until| until <= now)
    }
}

/// An account as profiles show it.
#[derive(Debug)]
pub struct KnownAccount {
    /// Its id.
    pub account_id: String,
    /// `agent`, `operator` or `gateway`.
    pub role: String,
    /// The members of the profile that come out of the account's row, as JSON without the braces.
    pub json: Box<str>,
}

impl From<Account> for KnownAccount {
    fn from(account: Account) -> Self {
        let mut members = json!({
            "account_id": account.account_id, "username": account.username, "display_name": account.display_name,
            "bio": account.bio, "capabilities": account.capabilities, "metadata": account.metadata,
            "visibility": account.visibility, "status": account.status,
            "created_at": account.created_at, "updated_at": account.updated_at,
        });
        if !account.avatar_url.is_empty() {
            members["avatar_url"] = account.avatar_url.into();
        }
        let text = members.to_string();
        let json = text.get(1..text.len() - 1).unwrap_or_default().into();
        Self { account_id: account.account_id, role: account.role, json }
    }
}

/// Why a lookup brought nothing.
#[derive(Debug, Clone)]
pub enum Miss {
    /// There is no such thing; not remembered, so that it is found as soon as it is made.
    NotFound,
    /// Postgres didn't answer.
    Failed(Arc<StoreError>),
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        Self::Failed(Arc::new(error))
    }
}

impl Default for Caches {
    fn default() -> Self {
        let weight = |key: &String, account: &Arc<KnownAccount>| {
            u32::try_from(2 * key.len() + account.json.len() + 200).unwrap_or(u32::MAX)
        };
        Self {
            accounts: Cache::builder()
                .max_capacity(MAX_ACCOUNT_BYTES)
                .weigher(weight)
                .time_to_live(LIFE)
                .build(),
            usernames: Cache::builder().max_capacity(MAX_NAMES).time_to_live(LIFE).build(),
            keys: Cache::builder().max_capacity(MAX_NAMES).time_to_live(KEY_LIFE).build(),
            owners: Cache::builder().max_capacity(MAX_NAMES).time_to_live(KEY_LIFE).build(),
        }
    }
}

impl Caches {
    /// The account of that id.
    pub async fn account(
        &self,
        db: &agentnet_store::Store,
        account_id: &str,
    ) -> Result<Arc<KnownAccount>, Miss> {
        get(&self.accounts, account_id, || async {
            accounts::by_id(db.pool(), account_id)
                .await?
                .map(|account| Arc::new(account.into()))
                .ok_or(Miss::NotFound)
        })
        .await
    }

    /// The id of the account with that normalised username.
    pub async fn id_of_username(&self, db: &agentnet_store::Store, username: &str) -> Result<Arc<str>, Miss> {
        get(&self.usernames, username, || async {
            accounts::id_of_username(db.pool(), username).await?.map(Arc::from).ok_or(Miss::NotFound)
        })
        .await
    }

    /// The account's own key.
    pub async fn key(&self, db: &agentnet_store::Store, account_id: &str) -> Result<Arc<str>, Miss> {
        get(&self.keys, account_id, || async {
            keys::active_key(db.pool(), account_id).await?.map(Arc::from).ok_or(Miss::NotFound)
        })
        .await
    }

    /// The account that the key speaks for now, see [`accounts::owner_of_key`].
    pub async fn owner(
        &self,
        db: &agentnet_store::Store,
        public_key: &str,
        now: Timestamp,
    ) -> Result<KnownOwner, Miss> {
        let find = || async {
            let owner = accounts::owner_of_key(db.pool(), public_key, now).await?.ok_or(Miss::NotFound)?;
            Ok(KnownOwner {
                account_id: Arc::from(owner.standing.account_id),
                session_until: owner.session_until.map(Timestamp::from),
            })
        };
        let known = get(&self.owners, public_key, find).await?;
        if !known.is_over(now) {
            return Ok(known);
        }
        // Its time may have been prolonged since it was remembered.
        self.owners.invalidate(public_key).await;
        get(&self.owners, public_key, find).await
    }

    /// As [`Self::owner`], from memory alone.
    pub async fn known_owner(&self, public_key: &str, now: Timestamp) -> Option<KnownOwner> {
        self.owners.get(public_key).await.filter(|known| !known.is_over(now))
    }

    /// As [`Self::account`], from memory alone.
    pub async fn known_account(&self, account_id: &str) -> Option<Arc<KnownAccount>> {
        self.accounts.get(account_id).await
    }

    /// As [`Self::id_of_username`], from memory alone.
    pub async fn known_id_of_username(&self, username: &str) -> Option<Arc<str>> {
        self.usernames.get(username).await
    }

    /// As [`Self::key`], from memory alone.
    pub async fn known_key(&self, account_id: &str) -> Option<Arc<str>> {
        self.keys.get(account_id).await
    }

    /// Forgets what is known about an account and the usernames it has or had.
    pub async fn forget(&self, account_id: &str, usernames: &[&str]) {
        self.accounts.invalidate(account_id).await;
        self.keys.invalidate(account_id).await;
        for username in usernames {
            self.usernames.invalidate(*username).await;
        }
    }

    /// Forgets what an event says has changed.
    pub async fn forget_keys(&self, event: &AccountEvent) {
        let usernames: Vec<&str> = event.usernames.iter().map(String::as_str).collect();
        self.forget(&event.account_id, &usernames).await;
        if let Some(key) = &event.public_key {
            self.owners.invalidate(key).await;
        }
    }

    /// Forgets everything: events may have been missed.
    pub fn forget_all(&self) {
        self.accounts.invalidate_all();
        self.usernames.invalidate_all();
        self.keys.invalidate_all();
        self.owners.invalidate_all();
    }
}

/// From memory, or through one lookup that all who miss at the same time share.
async fn get<V, F, Fut>(cache: &Cache<String, V>, key: &str, find: F) -> Result<V, Miss>
where
    V: Clone + Send + Sync + 'static,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V, Miss>>,
{
    match cache.get(key).await {
        Some(value) => Ok(value),
        None => cache.try_get_with(key.to_owned(), find()).await.map_err(|miss: Arc<Miss>| (*miss).clone()),
    }
}

impl From<Miss> for Failed {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NotFound => Self::NotFound,
            Miss::Failed(error) => Self::Store(error),
        }
    }
}
