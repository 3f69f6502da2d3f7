//! The keys of other accounts, remembered as long as nothing says that they changed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{AccountEvent, signature::PublicKey};
use tokio::time::Instant;

use super::Unproved;
use crate::{error::ErrorKind, registry::RegistryClient, ttl_map::TtlMap};

/// How long an account's key is remembered, as in the original. Failures are not.
const LIFE: Duration = Duration::from_secs(300);
const MAX_KEYS: usize = 10_000;
/// After a change a registry replica may answer from its own memory until the news has reached it; for so long nothing
/// of the account is remembered here.
const UNSETTLED: Duration = Duration::from_secs(5);
const MAX_UNSETTLED: usize = 10_000;

/// Keys by account. They hold their decompressed points, so that checking costs no square root.
#[derive(Debug)]
pub(crate) struct KeyBook {
    keys: Mutex<TtlMap<PublicKey>>,
    unsettled: Mutex<TtlMap<()>>,
    /// Changes heard of: what was asked before one and answered after it may be old.
    changes: AtomicU64,
}

impl Default for KeyBook {
    fn default() -> Self {
        Self {
            keys: Mutex::new(TtlMap::new(LIFE, MAX_KEYS)),
            unsettled: Mutex::new(TtlMap::new(UNSETTLED, MAX_UNSETTLED)),
            changes: AtomicU64::new(0),
        }
    }
}

impl KeyBook {
    /// The key that speaks for the account.
    pub(super) async fn key_of(
        &self,
        account: &str,
        registry: &RegistryClient,
    ) -> Result<PublicKey, Unproved> {
        if let Some(key) = lock(&self.keys).get(account, Instant::now()) {
            return Ok(*key);
        }
        let before = self.changes.load(Ordering::Acquire);
        let found = registry.resolve_key(account).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unproved::key_not_found(),
            _ => Unproved::Unknown(error),
        })?;
        // The registry binds no other texts.
        let key: PublicKey = found.public_key.parse().map_err(|_| Unproved::key_not_found())?;
        let now = Instant::now();
        let is_settled = lock(&self.unsettled).get(account, now).is_none();
        let mut keys = lock(&self.keys);
        if is_settled && self.changes.load(Ordering::Acquire) == before {
            keys.insert(account, key, now);
        }
        Ok(key)
    }

    /// The network says that something about the account's key or standing changed.
    pub(crate) fn changed(&self, event: &AccountEvent) {
        lock(&self.unsettled).insert(&event.account_id, (), Instant::now());
        let mut keys = lock(&self.keys);
        self.changes.fetch_add(1, Ordering::AcqRel);
        keys.remove(&event.account_id);
    }

    /// News may have been missed.
    pub(crate) fn forget_all(&self) {
        let mut keys = lock(&self.keys);
        self.changes.fetch_add(1, Ordering::AcqRel);
        *keys = TtlMap::new(LIFE, MAX_KEYS);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
