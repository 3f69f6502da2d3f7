//! From a target to subjects.

use agentnet_proto::{
    AccountId, Capability, Subject,
    envelope::{CAPABILITY_PREFIX, THREAD_PREFIX},
};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    node::Inner,
    target::Target,
};

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Account(AccountId),
    Capability(Capability),
    /// A thread, and its members but for the sender, as far as they are known.
    Thread(String, Vec<AccountId>),
}

impl Route {
    /// Where the first copies are published. The network delivers a message to a thread to every member, as soon as it
    /// has one copy; that members get theirs at once is only quicker. Whose members aren't known goes to the network alone.
    pub(crate) fn subjects(&self) -> Vec<String> {
        match self {
            Self::Account(id) => vec![Subject::Inbox(id.clone()).to_string()],
            Self::Capability(name) => vec![Subject::Capability(name.clone()).to_string()],
            Self::Thread(_, members) if members.is_empty() => vec![Subject::Resend.to_string()],
            Self::Thread(_, members) => {
                members.iter().map(|id| Subject::Inbox(id.clone()).to_string()).collect()
            }
        }
    }

    /// The logical target as the envelope names it.
    pub(crate) fn to_agent(&self) -> String {
        match self {
            Self::Account(id) => id.to_string(),
            Self::Capability(name) => format!("{CAPABILITY_PREFIX}{name}"),
            Self::Thread(id, _) => format!("{THREAD_PREFIX}{id}"),
        }
    }

    pub(crate) fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn capability(&self) -> Option<&Capability> {
        match self {
            Self::Capability(name) => Some(name),
            _ => None,
        }
    }
}

impl Inner {
    pub(crate) async fn route(&self, target: Target) -> Result<Route, Error> {
        match target {
            Target::Account(id) => Ok(Route::Account(id)),
            Target::Username(name) => self.resolve_username(&name).await.map(Route::Account),
            Target::Capability(name) => Ok(Route::Capability(name)),
            Target::Thread(id) => self.thread_route(id).await,
        }
    }

    /// The account of a username, remembered for a while. Failures are not remembered.
    pub(crate) async fn resolve_username(&self, name: &str) -> Result<AccountId, Error> {
        let started = Instant::now();
        if let Some(id) = self.cached_account(name, started) {
            self.metrics.username_hits.up();
            return Ok(id);
        }
        self.metrics.username_misses.up();
        let found = self.registry.resolve_account(name).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let detail =
                    format!("No account found for username '{name}'; `agentnet search` shows who is there");
                Error::new(ErrorKind::NotFound, detail)
            }
            _ => error,
        })?;
        let id = AccountId::new(found.account_id)
            .map_err(|code| Error::of(code, "the registry answered an account id that can't be addressed"))?;
        self.accounts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(
            name,
            id.clone(),
            Instant::now(),
        );
        self.metrics.latency_resolve.record(started.elapsed());
        Ok(id)
    }

    fn cached_account(&self, name: &str, now: Instant) -> Option<AccountId> {
        self.accounts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(name, now).cloned()
    }
}
