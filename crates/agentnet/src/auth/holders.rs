//! Who serves which capability, remembered as long as nothing says that it changed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{AccountChange, AccountEvent};
use tokio::time::Instant;

use super::Unproved;
use crate::{registry::RegistryClient, ttl_map::TtlMap};

/// How long it is remembered that an account serves a capability.
const LIFE: Duration = Duration::from_secs(300);
/// How long it is remembered that one doesn't: it may register it at any moment, and whoever answers for what it doesn't
/// serve makes this node ask once in that time.
const STRANGER_LIFE: Duration = Duration::from_secs(1);
const MAX: usize = 10_000;

/// Pairs of account and capability.
#[derive(Debug)]
pub(super) struct Holders {
    holders: Mutex<TtlMap<()>>,
    strangers: Mutex<TtlMap<()>>,
    /// Changes heard of: what was asked before one and answered after it may be old.
    changes: AtomicU64,
}

impl Default for Holders {
    fn default() -> Self {
        Self {
            holders: Mutex::new(TtlMap::new(LIFE, MAX)),
            strangers: Mutex::new(TtlMap::new(STRANGER_LIFE, MAX)),
            changes: AtomicU64::new(0),
        }
    }
}

impl Holders {
    /// Whether the account may serve the capability. A registry that doesn't say leaves it to the persister alone.
    pub(super) async fn serves(
        &self,
        account: &str,
        capability: &str,
        registry: &RegistryClient,
    ) -> Result<bool, Unproved> {
        // Neither holds a space.
        let pair = format!("{account} {capability}");
        let now = Instant::now();
        if lock(&self.holders).get(&pair, now).is_some() {
            return Ok(true);
        }
        if lock(&self.strangers).get(&pair, now).is_some() {
            return Ok(false);
        }
        let before = self.changes.load(Ordering::Acquire);
        let serves = registry.serves(account, capability).await.map_err(Unproved::Unknown)?.unwrap_or(true);
        let mut holders = lock(&self.holders);
        // Changes are counted under this lock.
        if self.changes.load(Ordering::Acquire) == before {
            if serves {
                holders.insert(&pair, (), Instant::now());
            } else {
                lock(&self.strangers).insert(&pair, (), Instant::now());
            }
        }
        Ok(serves)
    }

    pub(super) fn changed(&self, event: &AccountEvent) {
        // A grant, or what a session registered, may stand behind it.
        if matches!(event.change, None | Some(AccountChange::Permissions | AccountChange::Other)) {
            self.forget_all();
        }
    }

    pub(super) fn forget_all(&self) {
        let mut holders = lock(&self.holders);
        self.changes.fetch_add(1, Ordering::AcqRel);
        *holders = TtlMap::new(LIFE, MAX);
        *lock(&self.strangers) = TtlMap::new(STRANGER_LIFE, MAX);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
