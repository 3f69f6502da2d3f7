//! The registry's RPCs.

use std::{sync::Arc, time::Duration};

use agentnet_proto::{
    AccountId, RpcError, Security, Subject,
    rpc::{self, AgentInfo, Profile, Rpc, RpcMethod},
    signature::{PublicKey, Purpose, SecretKey},
};
use async_nats::{Client, HeaderMap, Request, RequestErrorKind, connection::State};
use tokio::time::timeout;

use crate::{
    auth::Signer,
    connect::{Connection, NatsSettings, connect, enters_with_key},
    error::{Error, ErrorKind},
    node::AgentNode,
};

/// How long an answer may take, as in the original.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(2);
/// How long registering may take, as in the original.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Most pages of `registry.list` that [`RegistryClient::list`] follows.
const MAX_PAGES: usize = 1000;

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
        let is_start = matches!(R::METHOD, RpcMethod::Register | RpcMethod::Network);
        let within = if is_start { self.register_timeout } else { self.timeout };
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
        let subject = match &self.caller {
            Some(CallAs::Account(account)) => Subject::RegistryAs(method, account.clone()).to_string(),
            Some(CallAs::Key(key)) => Subject::registry_of_key(method, key),
            None => Subject::Registry(method).to_string(),
        };
        let body = serde_json::to_vec(request).map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, format!("the {method} request can't be written as JSON"))
                .source_of(e)
        })?;
        // The outer timeout also covers the wait for room in a disconnected client's queue.
        let headers = self.signer.as_deref().and_then(|signer| sign(signer, &body));
        let mut request = Request::new().payload(body.into()).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let client = self.via.client();
        let answer = match timeout(within, client.send_request(subject, request)).await {
            Ok(Ok(message)) => message.payload,
            Ok(Err(error)) => return Err(self.failed(method, within, error.kind()).source_of(error)),
            Err(_) => return Err(self.failed(method, within, RequestErrorKind::TimedOut)),
        };
        decode(method, &answer)
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

    /// The network's name and mode, and whom the caller speaks for.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn network(&self) -> Result<rpc::NetworkResponse, Error> {
        self.call::<rpc::Network>(&rpc::NetworkRequest {}).await
    }

    /// Puts `new` in the place of the key that [signs](Self::signed_by), which then means nothing any more. Asked again
    /// after an answer was lost, the registry answers alike.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::Auth`] when the key that signs speaks for no account, or `new` is in use.
    pub async fn rotate(&self, new: &SecretKey) -> Result<rpc::RotateResponse, Error> {
        let request = rpc::RotateRequest { account_id: None, public_key: new.public_key() };
        self.must_sign("rotate")?;
        self.call_with::<rpc::Rotate>(&request, self.timeout, |signer, body| Some(signer.rotation(new, body)))
            .await
    }

    /// Takes a key out of use: the account's own, or for an operator anybody's.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::Auth`] when the one that [signs](Self::signed_by) may not.
    pub async fn revoke(&self, request: &rpc::RevokeRequest) -> Result<rpc::RevokeResponse, Error> {
        self.must_sign("revoke")?;
        self.call::<rpc::Revoke>(request).await
    }

    fn must_sign(&self, method: &str) -> Result<(), Error> {
        if self.signer.is_some() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Auth, format!("registry.{method} must be signed; name an identity")))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn register(&self, request: &rpc::RegisterRequest) -> Result<rpc::RegisterResponse, Error> {
        self.call::<rpc::Register>(request).await
    }

    /// Sessions online that fit the filters, all pages unless the request has a limit. Rows without an agent_id are
    /// left out, as in the original.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn list(&self, request: &rpc::ListRequest) -> Result<rpc::ListResponse, Error> {
        let mut page = request.clone();
        let mut answer = self.call::<rpc::List>(&page).await?;
        for _ in 1..MAX_PAGES {
            if request.limit.is_some() || answer.next_cursor.is_none() {
                break;
            }
            page.cursor = answer.next_cursor.take();
            let more = self.call::<rpc::List>(&page).await?;
            answer.agents.extend(more.agents);
            answer.next_cursor = more.next_cursor;
        }
        answer.agents.retain(|agent| !agent.agent_id.is_empty());
        Ok(answer)
    }

    /// Accounts by name, capability and status.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn search(&self, request: &rpc::SearchRequest) -> Result<rpc::SearchResponse, Error> {
        self.call::<rpc::Search>(request).await
    }

    /// One account with its sessions.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] for an unknown account.
    pub async fn profile(&self, request: &rpc::ProfileRequest) -> Result<Profile, Error> {
        Ok(self.call::<rpc::GetProfile>(request).await?.profile)
    }

    /// The account of a username.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] for an unknown username.
    pub async fn resolve_account(&self, username: &str) -> Result<rpc::ResolveAccountResponse, Error> {
        self.call::<rpc::ResolveAccount>(&rpc::ResolveAccountRequest { username: username.to_owned() }).await
    }

    /// The public key bound to an account.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] when none is bound.
    pub async fn resolve_key(&self, account_id: &str) -> Result<rpc::ResolveKeyResponse, Error> {
        let request = rpc::ResolveKeyRequest { account_id: account_id.to_owned(), history: false };
        self.call::<rpc::ResolveKey>(&request).await
    }

    /// Every key that the account has and had, the latest first.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] when there was never one.
    pub async fn key_history(&self, account_id: &str) -> Result<Vec<rpc::KeyRow>, Error> {
        let request = rpc::ResolveKeyRequest { account_id: account_id.to_owned(), history: true };
        Ok(self.call::<rpc::ResolveKey>(&request).await?.keys)
    }

    /// Threads by id or participant, latest activity first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_list(
        &self,
        request: &rpc::ThreadListRequest,
    ) -> Result<rpc::ThreadListResponse, Error> {
        self.call::<rpc::ThreadList>(request).await
    }

    /// One thread's counters.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] for an unknown thread.
    pub async fn thread_status(&self, thread_id: &str) -> Result<rpc::ThreadStatusResponse, Error> {
        self.call::<rpc::ThreadStatus>(&rpc::ThreadStatusRequest { thread_id: thread_id.to_owned() }).await
    }

    /// One page of a thread, newest first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_messages(
        &self,
        request: &rpc::ThreadMessagesRequest,
    ) -> Result<rpc::ThreadMessagesResponse, Error> {
        self.call::<rpc::ThreadMessages>(request).await
    }

    /// One page of the messages that fit the filters, newest first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn message_search(
        &self,
        request: &rpc::MessageSearchRequest,
    ) -> Result<rpc::MessageSearchResponse, Error> {
        self.call::<rpc::MessageSearch>(request).await
    }

    /// One page of the deliveries that fit the filters, newest message first. Dead letters are those in state `dead`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn deliveries(
        &self,
        request: &rpc::DeliveriesRequest,
    ) -> Result<rpc::DeliveriesResponse, Error> {
        self.call::<rpc::Deliveries>(request).await
    }

    /// Has the network try again what it gave up.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn redrive(&self, request: &rpc::RedriveRequest) -> Result<rpc::RedriveResponse, Error> {
        self.call::<rpc::Redrive>(request).await
    }

    /// The whole path of one message.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] when no such message is stored.
    pub async fn why(&self, message_id: &str) -> Result<rpc::WhyResponse, Error> {
        self.call::<rpc::Why>(&rpc::WhyRequest { message_id: message_id.to_owned() }).await
    }

    /// Makes a thread that only members post to and read.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_create(
        &self,
        request: &rpc::ThreadCreateRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadCreate>(request).await
    }

    /// Invites accounts into a thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_invite(
        &self,
        request: &rpc::ThreadInviteRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadInvite>(request).await
    }

    /// Joins a thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_join(
        &self,
        request: &rpc::ThreadJoinRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadJoin>(request).await
    }

    /// Leaves a thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_leave(
        &self,
        request: &rpc::ThreadJoinRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadLeave>(request).await
    }

    /// Puts members out of a thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_eject(
        &self,
        request: &rpc::ThreadEjectRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadEject>(request).await
    }

    /// Who is in a thread or invited to it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_members(
        &self,
        request: &rpc::ThreadMembersRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadMembers>(request).await
    }

    /// Makes an account an operator.
    ///
    /// # Errors
    /// As [`call`](Self::call); `forbidden` for whoever is no operator.
    pub async fn operator_grant(
        &self,
        request: &rpc::StandingRequest,
    ) -> Result<rpc::StandingResponse, Error> {
        self.call::<rpc::OperatorGrant>(request).await
    }

    /// Makes an operator an agent again.
    ///
    /// # Errors
    /// As [`call`](Self::call); `forbidden` for whoever is no operator.
    pub async fn operator_revoke(
        &self,
        request: &rpc::StandingRequest,
    ) -> Result<rpc::StandingResponse, Error> {
        self.call::<rpc::OperatorRevoke>(request).await
    }

    /// Who the operators are.
    ///
    /// # Errors
    /// As [`call`](Self::call); `forbidden` for whoever is no operator.
    pub async fn operator_list(
        &self,
        request: &rpc::OperatorListRequest,
    ) -> Result<rpc::OperatorListResponse, Error> {
        self.call::<rpc::OperatorList>(request).await
    }

    /// Locks an account out everywhere at once.
    ///
    /// # Errors
    /// As [`call`](Self::call); `forbidden` for whoever is no operator.
    pub async fn suspend(&self, request: &rpc::StandingRequest) -> Result<rpc::StandingResponse, Error> {
        self.call::<rpc::Suspend>(request).await
    }

    /// Lets a suspended account in again.
    ///
    /// # Errors
    /// As [`call`](Self::call); `forbidden` for whoever is no operator.
    pub async fn resume(&self, request: &rpc::StandingRequest) -> Result<rpc::StandingResponse, Error> {
        self.call::<rpc::Resume>(request).await
    }

    /// Changes what the caller's account says about itself.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn profile_update(
        &self,
        request: &rpc::ProfileUpdateRequest,
    ) -> Result<rpc::ProfileUpdateResponse, Error> {
        self.call::<rpc::ProfileUpdate>(request).await
    }

    /// Makes a token that lets unknown keys in.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn enrol(&self, request: &rpc::EnrolRequest) -> Result<rpc::EnrolResponse, Error> {
        self.call::<rpc::Enrol>(request).await
    }

    /// Restricts a capability, or opens it again.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn capability_restrict(
        &self,
        request: &rpc::CapabilityRestrictRequest,
    ) -> Result<rpc::CapabilityListResponse, Error> {
        self.call::<rpc::CapabilityRestrict>(request).await
    }

    /// Lets an account serve a restricted capability.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn capability_grant(
        &self,
        request: &rpc::CapabilityGrantRequest,
    ) -> Result<rpc::CapabilityListResponse, Error> {
        self.call::<rpc::CapabilityGrant>(request).await
    }

    /// Takes that back.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn capability_revoke(
        &self,
        request: &rpc::CapabilityGrantRequest,
    ) -> Result<rpc::CapabilityListResponse, Error> {
        self.call::<rpc::CapabilityRevoke>(request).await
    }

    /// Which capabilities are restricted.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn capability_list(
        &self,
        request: &rpc::CapabilityListRequest,
    ) -> Result<rpc::CapabilityListResponse, Error> {
        self.call::<rpc::CapabilityList>(request).await
    }

    /// The registry's own figures.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn metrics(&self) -> Result<rpc::MetricsResponse, Error> {
        self.call::<rpc::Metrics>(&rpc::MetricsRequest {}).await
    }
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

/// Every session online on the network at `url`. In secure mode, where only accounts may ask, it is asked as the identity
/// `agentnet-list`, made on first use.
///
/// # Errors
/// As [`connect`] and [`RegistryClient::list`]; in secure mode as [`AgentNodeBuilder::start`](crate::AgentNodeBuilder::start).
pub async fn list_online_agents(url: &str) -> Result<Vec<AgentInfo>, Error> {
    const NAME: &str = "agentnet-list";
    let lookup = |name: &str| std::env::var(name).ok();
    let told = lookup("AGENTNET_SECURITY").and_then(|word| word.parse().ok());
    let settings = NatsSettings::from_url(url)?.named(NAME);
    if enters_with_key(told, &settings, &lookup) {
        let node = AgentNode::builder(NAME).nats(settings).security(Security::Secure).start().await?;
        let listed = node.registry().list(&rpc::ListRequest::default()).await;
        let own = node.session_tag();
        // It only asked: whether its goodbye was heard matters to nobody.
        let _ = node.close().await;
        let mut agents = listed?.agents;
        agents.retain(|agent| agent.session_tag.as_ref() != Some(&own));
        return Ok(agents);
    }
    let connection = connect(&settings).await?;
    let agents = RegistryClient::over(&connection).list(&rpc::ListRequest::default()).await;
    let _ = connection.close(RPC_TIMEOUT).await;
    Ok(agents?.agents)
}

#[cfg(test)]
mod tests {
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
