//! Threads with members, as a node sees them: whom a message to a thread goes to, and who may post there.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Addressee, Envelope, ErrorCode,
    rpc::{
        MemberState, ThreadCreateRequest, ThreadEjectRequest, ThreadEvent, ThreadInviteRequest,
        ThreadJoinRequest, ThreadMembersRequest, ThreadMembersResponse,
    },
};
use tokio::time::Instant;

use crate::{error::Error, node::AgentNode, node::Inner};

/// How long members are remembered. The registry tells of changes; this is for what nobody heard.
pub(crate) const GROUP_LIFE: Duration = Duration::from_secs(10);
/// Most threads whose members are remembered.
pub(crate) const MAX_GROUPS: usize = 1_024;
/// How long the network tries to reach the members of a thread unless the sender says otherwise.
pub(crate) const GROUP_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Who is in a thread.
pub(crate) type Members = Arc<BTreeSet<AccountId>>;

/// Whether a message to a thread may be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// From a member, or no message to a thread.
    Fine,
    /// From somebody who isn't a member.
    Stranger,
    /// The registry doesn't say. The network knows, and delivers what members posted.
    Unknown,
}

impl Inner {
    /// The members of a thread that this account is in; `None` when the registry doesn't say.
    pub(crate) async fn members(&self, thread_id: &str) -> Option<Members> {
        let known = self
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(thread_id, Instant::now())
            .cloned();
        if let Some(members) = known {
            return members;
        }
        let request = ThreadMembersRequest { thread_id: thread_id.to_owned() };
        let found = match self.registry.thread_members(&request).await {
            Ok(answer) => {
                let joined = answer.members.into_iter().filter(|member| member.state == MemberState::Joined);
                Some(Arc::new(joined.filter_map(|member| AccountId::new(member.account_id).ok()).collect()))
            }
            Err(error) if error.code() == ErrorCode::NotFound.as_str() => None,
            Err(error) => {
                tracing::debug!(%error, thread_id, "the members of a thread are not known");
                return None;
            }
        };
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(
            thread_id,
            found.clone(),
            Instant::now(),
        );
        found
    }

    /// The registry says that somebody's standing to a thread changed.
    pub(crate) fn members_changed(&self, event: &ThreadEvent) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&event.thread_id);
    }

    /// Whether the sender may post where it did. What the network delivers again it has checked.
    pub(crate) async fn check_post(&self, envelope: &Envelope) -> Post {
        let Ok(Addressee::Thread(thread_id)) = envelope.addressee() else { return Post::Fine };
        let Some(members) = self.members(&thread_id).await else { return Post::Unknown };
        let is_member = |id: &str| AccountId::new(id).is_ok_and(|id| members.contains(&id));
        match envelope.from_account_id.as_deref() {
            Some(from) if is_member(from) && members.contains(&self.account) => Post::Fine,
            _ => Post::Stranger,
        }
    }
}

/// Threads that only members post to and read.
impl AgentNode {
    /// Makes a thread with this account as its owner, and invites accounts by their ids. Send to it with
    /// [`Target::Thread`](crate::Target::Thread) or `thread:<id>`.
    ///
    /// # Errors
    /// `not_found` for an unknown account, `thread_full`, `suspended`; as
    /// [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn create_thread(&self, title: &str, invite: &[&str]) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadCreateRequest {
            title: title.to_owned(),
            invite: owned(invite),
            ..ThreadCreateRequest::default()
        };
        self.create_thread_as(request).await
    }

    /// As [`create_thread`](Self::create_thread), with an id of one's own, or open to whoever wants to join.
    ///
    /// # Errors
    /// `thread_exists` too.
    pub async fn create_thread_as(
        &self,
        mut request: ThreadCreateRequest,
    ) -> Result<ThreadMembersResponse, Error> {
        request.account_id = self.asks();
        self.registry().thread_create(&request).await
    }

    /// Invites accounts by their ids. Who is in the thread or invited already stays so.
    ///
    /// # Errors
    /// `forbidden` unless this account is an owner; as [`create_thread`](Self::create_thread).
    pub async fn invite(&self, thread_id: &str, accounts: &[&str]) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadInviteRequest {
            account_id: self.asks(),
            thread_id: thread_id.to_owned(),
            invite: owned(accounts),
        };
        self.registry().thread_invite(&request).await
    }

    /// Joins a thread that this account is invited to, or that is public.
    ///
    /// # Errors
    /// `not_found` where it is neither; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn join_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadJoinRequest { account_id: self.asks(), thread_id: thread_id.to_owned() };
        self.registry().thread_join(&request).await
    }

    /// Leaves a thread, or declines an invitation.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn leave_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadJoinRequest { account_id: self.asks(), thread_id: thread_id.to_owned() };
        self.registry().thread_leave(&request).await
    }

    /// Puts members out, or takes invitations back.
    ///
    /// # Errors
    /// `forbidden` unless this account is an owner; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn eject(&self, thread_id: &str, accounts: &[&str]) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadEjectRequest {
            account_id: self.asks(),
            thread_id: thread_id.to_owned(),
            eject: owned(accounts),
        };
        self.registry().thread_eject(&request).await
    }

    /// Who is in a thread or invited to it, owners first.
    ///
    /// # Errors
    /// `not_found` for whoever is neither; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn thread_members(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.registry().thread_members(&ThreadMembersRequest { thread_id: thread_id.to_owned() }).await
    }

    pub(crate) fn asks(&self) -> Option<String> {
        Some(self.account_id().to_owned())
    }
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
