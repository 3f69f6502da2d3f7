//! What each member of a thread said to a message, before its sender is told.

use std::time::Duration;

use agentnet_proto::rpc::{MAX_ONLINE, OnlineRequest};
use tokio::time::{Instant, timeout_at};

use crate::{deadline::after, send::DeliveryHandle};

/// How long members have before the registry is asked whether the silent ones are there at all.
const GRACE: Duration = Duration::from_millis(50);

impl DeliveryHandle {
    /// Waits until every member said something or isn't there, at most the receipt timeout.
    pub(crate) async fn hear_members(&self) {
        if self.heard(Instant::now() + GRACE).await {
            return;
        }
        let end = after(self.started, self.patience.receipt_timeout).max(Instant::now() + GRACE);
        let silent = self.track.progress().silent();
        for accounts in silent.chunks(MAX_ONLINE) {
            let request = OnlineRequest { accounts: accounts.to_vec() };
            match timeout_at(end, self.node.registry.online(&request)).await {
                Ok(Ok(answer)) => self.track.update(|progress| {
                    for account in answer.accounts {
                        progress.is_there(&account.asked, account.online);
                    }
                }),
                Ok(Err(error)) => tracing::debug!(%error, "which members are online is not known"),
                Err(_) => {}
            }
        }
        self.heard(end).await;
    }

    /// Whether nothing is to be waited for any more, at the latest at `end`.
    async fn heard(&self, end: Instant) -> bool {
        loop {
            let changed = self.track.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.track.progress().silent().is_empty() {
                return true;
            }
            if timeout_at(end, changed).await.is_err() {
                return false;
            }
        }
    }
}
