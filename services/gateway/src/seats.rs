//! The accounts the gateway acts for, each through one node of the client crate, as an agent does.
//!
//! A seat belongs to a login: its key is bound to the account by the registry for that login, and ends with it. The pool is
//! bounded; seats that nobody uses are closed after a while.

mod entry;
mod pool;

use std::sync::OnceLock;

use agentnet::{
    AgentNode,
    proto::{AccountId, RpcError},
};
use agentnet_service::CancellationToken;

use crate::sockets::{End, close};

pub(crate) use entry::Entry;
pub(crate) use pool::{Login, Seats};

/// An account that the gateway acts for.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) node: AgentNode,
    pub(crate) account: AccountId,
    pub(crate) username: String,
    /// Cancelled when the seat ends.
    pub(crate) ended: CancellationToken,
    why: OnceLock<Why>,
}

/// Why a seat ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its login did: clients must log in again.
    LoginEnded,
    /// It is given up here, or made anew: clients may just come back.
    Moved,
}

impl Seat {
    pub(crate) fn of(node: AgentNode) -> Result<Self, agentnet::Error> {
        let account =
            AccountId::new(node.account_id()).map_err(|code| agentnet::Error::from(RpcError::from(code)))?;
        let username = node.username();
        Ok(Self { node, account, username, ended: CancellationToken::new(), why: OnceLock::new() })
    }

    fn end(&self, why: Why) {
        let _ = self.why.set(why);
        self.ended.cancel();
    }

    /// What sockets of a seat that ended say; `login_ended` is their code for a login that did.
    pub(crate) fn goodbye(&self, login_ended: u16) -> End {
        match self.why.get() {
            Some(Why::LoginEnded) => End::Say(login_ended, "the login has ended"),
            _ => End::Say(close::GOING_AWAY, "the account's connection ended; come back"),
        }
    }
}
