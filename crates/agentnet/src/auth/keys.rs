//! The keys of other accounts, remembered as long as nothing says that they changed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{AccountEvent, Timestamp, rpc::ResolveKeyResponse, signature::PublicKey};
use tokio::time::Instant;

use super::Unproved;
use crate::{deadline::after, error::ErrorKind, registry::RegistryClient, ttl_map::TtlMap};

/// How long an account's key is remembered, as in the original. Failures are not.
const LIFE: Duration = Duration::from_secs(300);
const MAX_KEYS: usize = 10_000;
/// After a change a registry replica may answer from its own memory until the news has reached it; for so long nothing
/// of the account is remembered here.
const UNSETTLED: Duration = Duration::from_secs(5);
const MAX_UNSETTLED: usize = 10_000;

/// Whose key it is, as the network said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) key: PublicKey,
    /// Whether the account is locked out.
    pub(super) is_suspended: bool,
}

/// Keys by account. They hold their decompressed points, so that checking costs no square root.
#[derive(Debug)]
pub(crate) struct KeyBook {
    /// Accounts' own keys.
    keys: Mutex<TtlMap<Known>>,
    /// Keys that logins bound, by account and key, and until when they speak for the account.
    sessions: Mutex<TtlMap<Instant>>,
    unsettled: Mutex<TtlMap<()>>,
    /// Changes heard of: what was asked before one and answered after it may be old.
    changes: AtomicU64,
}

impl Default for KeyBook {
    fn default() -> Self {
        Self {
            keys: Mutex::new(TtlMap::new(LIFE, MAX_KEYS)),
            sessions: Mutex::new(TtlMap::new(LIFE, MAX_KEYS)),
            unsettled: Mutex::new(TtlMap::new(UNSETTLED, MAX_UNSETTLED)),
            changes: AtomicU64::new(0),
        }
    }
}

impl KeyBook {
    /// `signed_by` if that key speaks for the account, be it its own or one that a login bound; the account's own else, for
    /// the caller to find that it is another one.
    pub(super) async fn key_of(
        &self,
        account: &str,
        signed_by: Option<&PublicKey>,
        registry: &RegistryClient,
    ) -> Result<Known, Unproved> {
        let own = lock(&self.keys).get(account, Instant::now()).copied();
        match (own, signed_by) {
            (Some(own), None) => return Ok(own),
            (Some(own), Some(asked)) if own.key == *asked => return Ok(own),
            (_, Some(asked)) if self.knows_session(account, asked) => {
                return Ok(Known { key: *asked, is_suspended: false });
            }
            _ => {}
        }
        let before = self.changes.load(Ordering::Acquire);
        let answer = registry.resolve_key_of(account, signed_by).await;
        let found = answer.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unproved::key_not_found(),
            _ => Unproved::Unknown(error),
        })?;
        // The registry binds no other texts.
        let key: PublicKey = found.public_key.parse().map_err(|_| Unproved::key_not_found())?;
        let known = Known { key, is_suspended: found.suspended };
        let now = Instant::now();
        if lock(&self.unsettled).get(account, now).is_none() {
            self.remember(account, known, &found, before, now);
        }
        Ok(known)
    }

    fn knows_session(&self, account: &str, key: &PublicKey) -> bool {
        let now = Instant::now();
        lock(&self.sessions).get(&session(account, &key.to_string()), now).is_some_and(|until| now < *until)
    }

    fn remember(&self, account: &str, known: Known, found: &ResolveKeyResponse, before: u64, now: Instant) {
        // Changes are counted under this lock.
        let mut keys = lock(&self.keys);
        if self.changes.load(Ordering::Acquire) != before {
            return;
        }
        let Some(expires_at) = &found.expires_at else {
            keys.insert(account, known, now);
            return;
        };
        // Of what a login bound only the time is remembered: that of an account that is locked out is asked for each time.
        if known.is_suspended {
            return;
        }
        // Both by the registry's clock.
        let times = Timestamp::parse(expires_at).zip(Timestamp::parse(&found.resolved_at));
        let left = times.and_then(|(end, asked)| u64::try_from(end.duration_since(asked)).ok());
        if let Some(left) = left {
            let until = after(now, Duration::from_millis(left));
            lock(&self.sessions).insert(&session(account, &found.public_key), until, now);
        }
    }

    /// The network says that something about the account's keys or standing changed.
    pub(crate) fn changed(&self, event: &AccountEvent) {
        lock(&self.unsettled).insert(&event.account_id, (), Instant::now());
        let mut keys = lock(&self.keys);
        self.changes.fetch_add(1, Ordering::AcqRel);
        keys.remove(&event.account_id);
        if let Some(key) = &event.public_key {
            lock(&self.sessions).remove(&session(&event.account_id, key));
        }
    }

    /// News may have been missed.
    pub(crate) fn forget_all(&self) {
        let mut keys = lock(&self.keys);
        self.changes.fetch_add(1, Ordering::AcqRel);
        *keys = TtlMap::new(LIFE, MAX_KEYS);
        *lock(&self.sessions) = TtlMap::new(LIFE, MAX_KEYS);
    }
}

/// Neither holds a space.
fn session(account: &str, key: &str) -> String {
    format!("{account} {key}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
