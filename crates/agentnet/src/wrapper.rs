//! A stable adapter for embedding AgentNet in an agent runtime of one's own, shaped as the original's `AgentWrapper`.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentnet_proto::AccountId;
use serde::Serialize;

use crate::{
    error::{Error, ErrorKind},
    inbox::{HandlerResult, Incoming},
    node::{AgentNode, AgentNodeBuilder},
    request::Reply,
    send::{Delivery, DeliveryHandle},
    target::Target,
};

/// Whom a wrapper's call is for: exactly one of the three.
#[derive(Debug, Clone, Copy, Default)]
pub struct To<'a> {
    /// An account by its id.
    pub to_account_id: Option<&'a str>,
    /// The account of a username.
    pub to_username: Option<&'a str>,
    /// Any one agent with a capability.
    pub to_capability: Option<&'a str>,
}

impl<'a> To<'a> {
    /// An account by its id.
    pub fn account_id(id: &'a str) -> Self {
        Self { to_account_id: Some(id), ..Self::default() }
    }

    /// The account of a username.
    pub fn username(name: &'a str) -> Self {
        Self { to_username: Some(name), ..Self::default() }
    }

    /// Any one agent with a capability.
    pub fn capability(name: &'a str) -> Self {
        Self { to_capability: Some(name), ..Self::default() }
    }

    fn target(self) -> Result<Target, Error> {
        match (self.to_account_id, self.to_username, self.to_capability) {
            (Some(id), None, None) => Target::account(id),
            (None, Some(name), None) => Target::username(name),
            (None, None, Some(name)) => Target::capability(name),
            _ => Err(Error::new(
                ErrorKind::InvalidTarget,
                "give exactly one of to_account_id, to_username and to_capability",
            )),
        }
    }
}

enum State {
    /// Options and handlers are being set.
    Idle(Box<AgentNodeBuilder>),
    /// `connect` is at work.
    Connecting,
    Connected(AgentNode),
    Closed,
}

/// An agent in the original wrapper's shape: `receive`, then `connect`, then `send`, `request` and `reply`, then `close`.
///
/// [`AgentNode`] does the same with more to choose; this keeps a runtime's adapter small.
pub struct AgentWrapper {
    state: Mutex<State>,
}

impl AgentWrapper {
    /// A wrapper with the node's defaults.
    pub fn new(agent_id: impl Into<String>) -> Self {
        Self::of(AgentNode::builder(agent_id))
    }

    /// A wrapper around a node with its own options.
    pub fn of(builder: AgentNodeBuilder) -> Self {
        Self { state: Mutex::new(State::Idle(Box::new(builder))) }
    }

    /// Sets what to do with messages; before `connect`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] after `connect`.
    pub fn receive<F, Fut>(&self, handler: F) -> Result<(), Error>
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Idle(builder) => {
                *state = State::Idle(Box::new(builder.on_message(handler)));
                Ok(())
            }
            other => {
                *state = other;
                Err(Error::new(ErrorKind::InvalidArgument, "set the handler before `connect`"))
            }
        }
    }

    /// Connects and registers. A wrapper whose `connect` failed can't be used again: make another.
    ///
    /// # Errors
    /// As [`AgentNodeBuilder::start`]; [`ErrorKind::InvalidArgument`] when it is connected already;
    /// [`ErrorKind::Closed`] when `close` was called meanwhile.
    pub async fn connect(&self) -> Result<(), Error> {
        let builder = {
            let mut state = self.lock();
            match std::mem::replace(&mut *state, State::Connecting) {
                State::Idle(builder) => builder,
                other => {
                    let detail = match other {
                        State::Closed => "the wrapper is closed; make another",
                        _ => "the wrapper is connected already",
                    };
                    *state = other;
                    return Err(Error::new(ErrorKind::InvalidArgument, detail));
                }
            }
        };
        let started = builder.start().await;
        let node = {
            let mut state = self.lock();
            match started {
                Ok(node) if matches!(*state, State::Connecting) => {
                    *state = State::Connected(node);
                    return Ok(());
                }
                Ok(node) => node,
                Err(error) => {
                    *state = State::Closed;
                    return Err(error);
                }
            }
        };
        // `close` came while the session began.
        let _ = node.close().await;
        Err(Error::closed())
    }

    /// Ends the session in order. A wrapper that isn't connected has nothing to end.
    ///
    /// # Errors
    /// As [`AgentNode::close`].
    pub async fn close(&self) -> Result<(), Error> {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        match state {
            State::Connected(node) => node.close().await,
            _ => Ok(()),
        }
    }

    /// The node below.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] before `connect` and after `close`.
    pub fn node(&self) -> Result<AgentNode, Error> {
        match &*self.lock() {
            State::Connected(node) => Ok(node.clone()),
            State::Closed => Err(Error::closed()),
            State::Idle(_) | State::Connecting => {
                Err(Error::new(ErrorKind::Closed, "the wrapper isn't connected; call `connect` first"))
            }
        }
    }

    /// Sends a message, in a thread if one is given.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage).
    pub async fn send<T: Serialize>(
        &self,
        to: To<'_>,
        payload: T,
        thread_id: Option<&str>,
    ) -> Result<Delivery, Error> {
        let node = self.node()?;
        let send = node.send(to.target(), payload);
        match thread_id {
            Some(thread) => send.thread(thread).await,
            None => send.await,
        }
    }

    /// Asks, and waits for the reply: 5 s unless given.
    ///
    /// # Errors
    /// As [`RequestMessage`](crate::RequestMessage).
    pub async fn request<T: Serialize>(
        &self,
        to: To<'_>,
        payload: T,
        timeout: Option<Duration>,
    ) -> Result<Reply, Error> {
        let node = self.node()?;
        let request = node.request(to.target(), payload);
        match timeout {
            Some(timeout) => request.timeout(timeout).await,
            None => request.await,
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// As [`Incoming::reply`].
    pub async fn reply<T: Serialize>(&self, request: &Incoming, payload: T) -> Result<DeliveryHandle, Error> {
        request.reply(payload).await
    }

    /// The account of a username.
    ///
    /// # Errors
    /// As [`AgentNode::resolve_username`].
    pub async fn resolve_username(&self, username: &str) -> Result<AccountId, Error> {
        self.node()?.resolve_username(username).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AgentWrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.lock() {
            State::Idle(_) => "idle",
            State::Connecting => "connecting",
            State::Connected(_) => "connected",
            State::Closed => "closed",
        };
        f.debug_struct("AgentWrapper").field("state", &state).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_target() {
        assert_eq!(To::account_id("acct_1").target().unwrap(), Target::account("acct_1").unwrap());
        assert_eq!(To::username("@Bob").target().unwrap(), Target::Username("bob".into()));
        let both = To { to_username: Some("bob"), ..To::capability("chat") };
        for to in [To::default(), both] {
            assert_eq!(to.target().unwrap_err().kind(), ErrorKind::InvalidTarget);
        }
    }

    #[tokio::test]
    async fn calls_before_connect_and_after_close_say_so() {
        let wrapper = AgentWrapper::new("a");
        wrapper.receive(|_| async { Ok(()) }).unwrap();
        let error = wrapper.send(To::username("bob"), 1, None).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Closed && error.detail().contains("connect"), "{error}");
        wrapper.close().await.unwrap();
        assert!(wrapper.receive(|_| async { Ok(()) }).is_err());
        assert_eq!(wrapper.connect().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
