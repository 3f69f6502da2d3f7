//! The accounts the gateway acts for, each through one node of the client crate, as an agent does.
//!
//! A seat belongs to a login: its key is bound to the account by the registry for that login, and ends with it. The pool is
//! bounded; seats that nobody uses are closed after a while.

mod entry;
mod pool;

use agentnet::{
    AgentNode,
    proto::{AccountId, RpcError},
};
use agentnet_service::CancellationToken;

pub(crate) use entry::Entry;
pub(crate) use pool::{Login, Seats};

/// An account that the gateway acts for.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) node: AgentNode,
    pub(crate) account: AccountId,
    pub(crate) username: String,
    /// Cancelled when the seat ends: its login did, or nobody used it.
    pub(crate) ended: CancellationToken,
}

impl Seat {
    pub(crate) fn of(node: AgentNode) -> Result<Self, agentnet::Error> {
        let account =
            AccountId::new(node.account_id()).map_err(|code| agentnet::Error::from(RpcError::from(code)))?;
        let username = node.username();
        Ok(Self { node, account, username, ended: CancellationToken::new() })
    }
}
