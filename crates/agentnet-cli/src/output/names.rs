//! Usernames for account ids: people know the former, messages carry the latter.

use std::collections::HashMap;

use agentnet::{
    ErrorKind, RegistryClient,
    proto::rpc::{ListRequest, ProfileRequest},
};
use futures_util::{StreamExt as _, stream};

use super::escape::clean;

/// Most names kept. A network that is larger shows ids for the rest.
const CAPACITY: usize = 10_000;
/// Profiles asked for at once.
const PARALLEL: usize = 8;

/// Names seen so far.
#[derive(Debug, Default)]
pub struct Names {
    /// `None` for an account that the registry doesn't know.
    known: HashMap<String, Option<String>>,
    listed: bool,
}

impl Names {
    /// Learns the names of `accounts`: one list of who is online, then the profile of each of the others. What
    /// can't be found out stays an id.
    pub async fn learn(&mut self, registry: &RegistryClient, accounts: impl IntoIterator<Item = &str>) {
        let mut unknown: Vec<String> =
            accounts.into_iter().filter(|id| !self.known.contains_key(*id)).map(str::to_owned).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.len() > 1 && !self.listed {
            self.listed = true;
            if let Ok(list) = registry.list(&ListRequest::default()).await {
                for agent in list.agents {
                    if let (Some(id), Some(name)) = (agent.account_id, agent.username) {
                        self.insert(id, Some(name));
                    }
                }
            }
            unknown.retain(|id| !self.known.contains_key(id));
        }
        let found: Vec<_> = stream::iter(unknown)
            .map(|id| async move {
                let request = ProfileRequest { account_id: Some(id.clone()), username: None };
                (id, registry.profile(&request).await)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for (id, profile) in found {
            match profile {
                Ok(profile) => self.insert(id, Some(profile.username)),
                Err(error) if error.kind() == ErrorKind::NotFound => self.insert(id, None),
                // A registry that is away for a moment may know it next time.
                Err(_) => {}
            }
        }
    }

    /// The name of an account, safe to print; its id when no name is known.
    pub fn of(&self, account: &str) -> String {
        self.find(account).unwrap_or_else(|| clean(account).into_owned())
    }

    /// The name of an account, safe to print.
    pub fn find(&self, account: &str) -> Option<String> {
        let name = self.known.get(account)?.as_deref()?;
        Some(clean(name).into_owned())
    }

    fn insert(&mut self, id: String, name: Option<String>) {
        if self.known.len() < CAPACITY {
            self.known.insert(id, name);
        }
    }
}
