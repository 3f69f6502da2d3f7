//! Restricted capabilities in memory, because every hello asks. Postgres has the truth: it is read at the start, with every
//! round of the garbage collection, and when an event says that permissions changed.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use agentnet_store::{Store, StoreError, capabilities};

/// Restricted capabilities, and who may serve them.
#[derive(Debug, Default)]
pub(crate) struct Restricted(RwLock<HashMap<String, HashSet<String>>>);

impl Restricted {
    /// Whether the account may serve all of these.
    pub(crate) fn allows(&self, capabilities: &[String], account_id: Option<&str>) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Mostly empty.
        known.is_empty()
            || capabilities.iter().all(|name| {
                known.get(name).is_none_or(|granted| account_id.is_some_and(|id| granted.contains(id)))
            })
    }

    /// Reads everything anew.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let rows = capabilities::list(store.pool(), None).await?;
        let now = rows.into_iter().map(|row| (row.capability, row.granted.into_iter().collect())).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }
}
