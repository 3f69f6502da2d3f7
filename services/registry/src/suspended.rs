//! Who is locked out, in memory, because every request and every hello asks. Postgres has the truth: it is read at the
//! start, with every round of the garbage collection, and whenever an event says that something changed.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use agentnet_store::{Store, StoreError, standing};

/// The accounts that are locked out.
#[derive(Debug, Default)]
pub(crate) struct Suspended(RwLock<HashSet<String>>);

impl Suspended {
    /// Whether the account is locked out.
    pub(crate) fn contains(&self, account_id: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(account_id)
    }

    /// Reads everything anew; returns who wasn't locked out before.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<Vec<String>, StoreError> {
        let now: HashSet<String> = standing::suspended(store.pool()).await?.into_iter().collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = now.difference(&known).cloned().collect();
        *known = now;
        Ok(new)
    }

    /// Reads anew about one account; whether it is locked out.
    pub(crate) async fn look_again(&self, store: &Store, account_id: &str) -> Result<bool, StoreError> {
        let is_suspended = !standing::suspended_of(store.pool(), &[account_id]).await?.is_empty();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if is_suspended {
            known.insert(account_id.to_owned());
        } else {
            known.remove(account_id);
        }
        Ok(is_suspended)
    }
}
