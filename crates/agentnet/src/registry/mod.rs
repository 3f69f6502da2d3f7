//! The registry's RPCs: how a call is made here, one file for each group of them.

mod blobs;
mod capabilities;
mod deliveries;
mod discovery;
mod enrol;
mod keys;
mod members;
mod messages;
mod online;
mod people;
mod session;
mod standing;
mod threads;
mod users;

use std::{sync::Arc, time::Duration};

use agentnet_proto::{
    AccountId, RpcError, Subject,
    rpc::{Rpc, RpcMethod},
    signature::{PublicKey, Purpose},
};
use async_nats::{Client, HeaderMap, Request, RequestErrorKind, connection::State};
use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    auth::Signer,
    connect::Connection,
    error::{Error, ErrorKind},
};

pub(crate) use blobs::CHUNK_TIMEOUT;
pub use online::list_online_agents;

/// How long an answer may take, as in the original.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(2);
/// How long registering may take, as in the original.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls the registry. Cheap to clone; needs no registration.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    via: Via,
    timeout: Duration,
    register_timeout: Duration,
    caller: Option<CallAs>,
    signer: Option<Arc<Signer>>,
}

/// What requests go over.
#[derive(Debug, Clone)]
enum Via {
    Client(Arc<Client>),
    /// Whose client another may take the place of.
    Connection(Connection),
}

impl Via {
    fn client(&self) -> Arc<Client> {
        match self {
            Self::Client(client) => Arc::clone(client),
            Self::Connection(connection) => connection.client(),
        }
    }
}

/// Who asks, in secure mode.
#[derive(Debug, Clone)]
enum CallAs {
    Account(AccountId),
    Key(PublicKey),
}

impl RegistryClient {
    /// A client with the original's timeouts: 2 s, registering 5 s.
    pub fn new(client: Client) -> Self {
        Self::via(Via::Client(Arc::new(client)))
    }

    /// The same over a connection, which may be renewed.
    pub fn over(connection: &Connection) -> Self {
        Self::via(Via::Connection(connection.clone()))
    }

    fn via(via: Via) -> Self {
        Self { via, timeout: RPC_TIMEOUT, register_timeout: REGISTER_TIMEOUT, caller: None, signer: None }
    }

    /// The same over another connection.
    #[must_use]
    pub(crate) fn on(mut self, connection: &Connection) -> Self {
        self.via = Via::Connection(connection.clone());
        self
    }

    /// The same with another timeout for every method.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        (self.timeout, self.register_timeout) = (timeout, timeout);
        self
    }

    /// The same on the subjects of secure mode, `registry.<method>.<account_id>`, whose permissions prove the caller.
    #[must_use]
    pub fn as_account(mut self, account: AccountId) -> Self {
        self.caller = Some(CallAs::Account(account));
        self
    }

    /// The same for a key that may have no account yet, `registry.<method>.<nkey>`: it may ask for the network and
    /// register.
    #[must_use]
    pub fn as_key(mut self, key: PublicKey) -> Self {
        self.caller = Some(CallAs::Key(key));
        self
    }

    /// The same, signing every request that changes something or whose answer depends on who asks.
    #[must_use]
    pub fn signed_by(mut self, signer: Arc<Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Calls any method of the registry.
    ///
    /// # Errors
    /// [`ErrorKind::RegistryUnavailable`] at once when no registry listens, [`ErrorKind::Timeout`] when it doesn't
    /// answer in time, [`ErrorKind::NatsUnavailable`] when there is no connection, [`ErrorKind::RegistryFailed`] for
    /// an answer that can't be read, and what the registry itself answered otherwise.
    pub async fn call<R: Rpc>(&self, request: &R::Request) -> Result<R::Response, Error> {
        let within = if takes_longer(R::METHOD) { self.register_timeout } else { self.timeout };
        self.call_within::<R>(request, within).await
    }

    /// [`call`](Self::call) with its own timeout.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_within<R: Rpc>(
        &self,
        request: &R::Request,
        within: Duration,
    ) -> Result<R::Response, Error> {
        self.call_with::<R>(request, within, |signer, body| {
            let method = R::METHOD;
            match method {
                RpcMethod::Register => Some(signer.request(body, |nonce| Purpose::Register(nonce))),
                RpcMethod::Revoke => Some(signer.request(body, |nonce| Purpose::Revoke(nonce))),
                _ if method.is_signed_as_rpc() => {
                    Some(signer.request(body, |nonce| Purpose::Rpc { method, nonce }))
                }
                _ => None,
            }
        })
        .await
    }

    async fn call_with<R: Rpc>(
        &self,
        request: &R::Request,
        within: Duration,
        sign: impl FnOnce(&Signer, &[u8]) -> Option<HeaderMap>,
    ) -> Result<R::Response, Error> {
        let method = R::METHOD;
        let body = serde_json::to_vec(request).map_err(|e| unwritable(method, e))?;
        let headers = self.signer.as_deref().and_then(|signer| sign(signer, &body));
        let answer = self.exchange(method, body.into(), headers, within).await?;
        decode(method, &answer)
    }

    /// Sends a chunk, or asks for one. Where the subject proves the caller it isn't signed: hashing every byte once more
    /// would prove nothing more.
    async fn carry(&self, method: RpcMethod, body: Bytes, within: Duration) -> Result<Bytes, Error> {
        let signer = self.signer.as_deref().filter(|_| !matches!(self.caller, Some(CallAs::Account(_))));
        let headers = signer.map(|signer| signer.request(&body, |nonce| Purpose::Rpc { method, nonce }));
        self.exchange(method, body, headers, within).await
    }

    /// One request; the answer's bytes.
    async fn exchange(
        &self,
        method: RpcMethod,
        body: Bytes,
        headers: Option<HeaderMap>,
        within: Duration,
    ) -> Result<Bytes, Error> {
        let subject = match &self.caller {
            Some(CallAs::Account(account)) => Subject::RegistryAs(method, account.clone()).to_string(),
            Some(CallAs::Key(key)) => Subject::registry_of_key(method, key),
            None => Subject::Registry(method).to_string(),
        };
        // The outer timeout also covers the wait for room in a disconnected client's queue.
        let mut request = Request::new().payload(body).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let client = self.via.client();
        match timeout(within, client.send_request(subject, request)).await {
            Ok(Ok(message)) => Ok(message.payload),
            Ok(Err(error)) => Err(self.failed(method, within, error.kind()).source_of(error)),
            Err(_) => Err(self.failed(method, within, RequestErrorKind::TimedOut)),
        }
    }

    fn failed(&self, method: RpcMethod, within: Duration, kind: RequestErrorKind) -> Error {
        if kind == RequestErrorKind::NoResponders {
            return Error::new(
                ErrorKind::RegistryUnavailable,
                "no registry listens on this network; start it (`agentnet up`, or the registry service) and try again",
            );
        }
        if self.via.client().connection_state() != State::Connected {
            let detail = format!(
                "there is no connection to NATS for registry.{method}; check the server and try again"
            );
            return Error::new(ErrorKind::NatsUnavailable, detail);
        }
        match kind {
            RequestErrorKind::TimedOut => Error::new(
                ErrorKind::Timeout,
                format!(
                    "the registry didn't answer registry.{method} within {} s; check its health and load",
                    within.as_secs_f64()
                ),
            ),
            RequestErrorKind::MaxPayloadExceeded => Error::new(
                ErrorKind::PayloadTooLarge,
                format!("the {method} request is larger than NATS carries; send less"),
            ),
            _ => Error::new(
                ErrorKind::NatsUnavailable,
                format!("registry.{method} could not be sent; check the NATS server"),
            ),
        }
    }
}

fn unwritable(method: RpcMethod, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the {method} request can't be written as JSON"))
        .source_of(error)
}

/// What comes at the start, and what hashes a password.
const fn takes_longer(method: RpcMethod) -> bool {
    matches!(
        method,
        RpcMethod::Register
            | RpcMethod::Network
            | RpcMethod::UserCreate
            | RpcMethod::UserSetPassword
            | RpcMethod::UserLogin
            | RpcMethod::UserRefresh
            | RpcMethod::ApiKeyLogin
    )
}

/// An answer, an error the registry answered, or neither.
fn decode<T: serde::de::DeserializeOwned>(method: RpcMethod, body: &[u8]) -> Result<T, Error> {
    // No success object holds a member `error`, and every one has members that an error lacks.
    serde_json::from_slice(body).map_err(|unreadable| match serde_json::from_slice::<RpcError>(body) {
        Ok(error) => error.into(),
        Err(_) => Error::new(
            ErrorKind::RegistryFailed,
            format!(
                "the answer to registry.{method} can't be read; are registry and agent of versions that fit?"
            ),
        )
        .source_of(unreadable),
    })
}

#[cfg(test)]
mod tests {
    use agentnet_proto::rpc;

    use super::*;

    #[test]
    fn answers_errors_and_neither() {
        let resolve =
            |body: &str| decode::<rpc::ResolveAccountResponse>(RpcMethod::ResolveAccount, body.as_bytes());
        let found = resolve(r#"{"account_id":"acct_1","username":"a","resolved_at":"2026-02-21T08:00:00Z"}"#);
        assert_eq!(found.unwrap().account_id, "acct_1");
        let error = resolve(r#"{"error":"not_found"}"#).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "not_found"));
        for garbage in ["", "[]", "{}", "null"] {
            assert_eq!(resolve(garbage).unwrap_err().kind(), ErrorKind::RegistryFailed, "{garbage}");
        }
    }
}
