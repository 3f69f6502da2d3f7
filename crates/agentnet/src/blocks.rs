//! Whose messages this account refuses, as a node knows it. The network refuses them too, wherever the node is; this is for
//! what comes in live.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use agentnet_proto::{
    Envelope,
    rpc::{BlockListRequest, MAX_BLOCKS},
};
use tokio::sync::Mutex;

use crate::{error::Error, node::Inner};

/// Pages of the list that are read at most; it has one.
const MAX_PAGES: usize = 10;

/// The blocked accounts.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    known: RwLock<HashSet<String>>,
    /// Whether they have to be asked for again.
    stale: AtomicBool,
    /// One asks at a time, so that no older list comes in place of a newer one.
    asking: Mutex<()>,
}

impl Blocks {
    /// Whether the message is from a blocked account.
    pub(crate) fn refuse(&self, envelope: &Envelope) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        envelope.from_account_id.as_deref().is_some_and(|from| known.contains(from))
    }

    /// Something changed, or may have.
    pub(crate) fn changed(&self) {
        self.stale.store(true, Ordering::Release);
    }
}

impl Inner {
    /// Asks whom the account blocks, if that may have changed. After a failure the old list holds, and the next call asks
    /// again. Once it returns, the list is one that was asked for after the call.
    pub(crate) async fn refresh_blocks(&self) -> Result<(), Error> {
        let _turn = self.blocks.asking.lock().await;
        if !self.blocks.stale.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        match self.fetch_blocks().await {
            Ok(blocked) => {
                *self.blocks.known.write().unwrap_or_else(PoisonError::into_inner) = blocked;
                Ok(())
            }
            Err(error) => {
                self.blocks.changed();
                Err(error)
            }
        }
    }

    async fn fetch_blocks(&self) -> Result<HashSet<String>, Error> {
        let mut request = BlockListRequest {
            account_id: Some(self.account.to_string()),
            limit: Some(MAX_BLOCKS),
            cursor: None,
        };
        let mut blocked = HashSet::new();
        for _ in 0..MAX_PAGES {
            let page = self.registry.block_list(&request).await?;
            blocked.extend(page.blocked.into_iter().map(|row| row.account_id));
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        Ok(blocked)
    }
}
