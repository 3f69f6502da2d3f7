//! Acting for an account that somebody logged in to, with an ephemeral key: what a gateway does.

use agentnet_proto::{
    rpc::{LoginResponse, UserSessionResponse},
    signature::SecretKey,
};

/// An account, and the ephemeral key that a login bound to it ([`RegistryClient::user_login`]).
/// [`AgentNodeBuilder::logged_in`] starts a node with one.
///
/// [`RegistryClient::user_login`]: crate::RegistryClient::user_login
/// [`AgentNodeBuilder::logged_in`]: crate::AgentNodeBuilder::logged_in
#[derive(Debug, Clone)]
pub struct Login {
    pub(crate) account_id: String,
    pub(crate) username: String,
    pub(crate) key: SecretKey,
    pub(crate) via: Option<String>,
}

impl Login {
    /// Of an account with that username, whose session key `key` is.
    #[must_use]
    pub fn new(account_id: impl Into<String>, username: impl Into<String>, key: SecretKey) -> Self {
        Self { account_id: account_id.into(), username: username.into(), key, via: None }
    }

    /// What the registry answered when `key` was bound.
    #[must_use]
    pub fn of(answer: &LoginResponse, key: SecretKey) -> Self {
        Self::new(&answer.account_id, &answer.username, key)
    }

    /// As [`Self::of`], where the key joined a login that was there.
    #[must_use]
    pub fn of_session(answer: &UserSessionResponse, key: SecretKey) -> Self {
        Self::new(&answer.account_id, &answer.username, key)
    }

    /// Who acts for the account, an account id: history shows it.
    #[must_use]
    pub fn via(mut self, gateway: impl Into<String>) -> Self {
        self.via = Some(gateway.into());
        self
    }
}
