//! Where a delivery could go now.

use agentnet_proto::envelope::CAPABILITY_PREFIX;
use agentnet_proto::{AccountId, Capability, Subject};

use super::table::Table;

/// Where deliveries to one recipient can be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To the redelivery subject of any of these accounts: they have a session online that speaks 1.2.
    Redelivery(Vec<AccountId>),
    /// Only sessions of older versions are online: to the subject they hear, slowly.
    Legacy(Subject),
    /// Nobody is there.
    Nobody,
}

/// Whether a session is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is online, or was silent for less than its time to live.
    Alive,
    /// It said goodbye, or was silent for too long.
    Gone,
    /// It isn't known here, and it is too early to say that it is gone.
    Unknown,
}

impl Table {
    pub(super) fn route(&self, recipient: &str, now: i64, ttl: i64) -> Route {
        match recipient.strip_prefix(CAPABILITY_PREFIX) {
            Some(name) => self.route_to_capability(name, now, ttl),
            None => self.route_to_account(recipient, now, ttl),
        }
    }

    fn route_to_account(&self, account: &str, now: i64, ttl: i64) -> Route {
        let Ok(id) = AccountId::new(account) else { return Route::Nobody };
        let mut online = self
            .keys_of_account(account)
            .iter()
            .filter_map(|key| self.sessions.get(key))
            .filter(|e| e.takes_mail && self.is_visible(e, now, ttl))
            .peekable();
        if online.peek().is_none() {
            Route::Nobody
        } else if online.any(|entry| entry.speaks_1_2) {
            Route::Redelivery(vec![id])
        } else {
            Route::Legacy(Subject::Inbox(id))
        }
    }

    fn route_to_capability(&self, name: &str, now: i64, ttl: i64) -> Route {
        let Ok(capability) = Capability::new(name) else { return Route::Nobody };
        let (mut accounts, mut legacy) = (Vec::new(), false);
        for entry in self.sessions.values() {
            if !entry.takes_mail
                || !entry.capabilities.iter().any(|c| **c == *name)
                || !self.is_visible(entry, now, ttl)
            {
                continue;
            }
            match entry.account_id.as_deref().map(AccountId::new) {
                Some(Ok(id)) if entry.speaks_1_2 => accounts.push(id),
                _ => legacy = true,
            }
        }
        accounts.sort_unstable();
        accounts.dedup();
        match (accounts.is_empty(), legacy) {
            (false, _) => Route::Redelivery(accounts),
            (true, true) => Route::Legacy(Subject::Capability(capability)),
            (true, false) => Route::Nobody,
        }
    }

    /// Everybody that deliveries could go to, with how long ago the longest of their sessions was opened, in seconds of
    /// `at`'s clock.
    pub(super) fn online(&self, now: i64, ttl: i64, at: agentnet_proto::Timestamp) -> Vec<(String, f64)> {
        let mut since: std::collections::HashMap<String, f64> = std::collections::HashMap::new();
        for entry in self.sessions.values().filter(|entry| self.is_visible(entry, now, ttl)) {
            let age = at.duration_since(entry.opened.at).max(0) as f64 / 1000.0;
            for recipient in entry.recipients() {
                let known = since.entry(recipient).or_default();
                *known = known.max(age);
            }
        }
        since.into_iter().collect()
    }
}
