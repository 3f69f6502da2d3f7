//! The calls of a node about threads with members.

use agentnet_proto::{
    AccountId, ErrorCode,
    rpc::{
        ConversationListRequest, ConversationListResponse, MemberRole, ThreadCreateRequest,
        ThreadEjectRequest, ThreadEvent, ThreadInviteRequest, ThreadJoinRequest, ThreadMembersRequest,
        ThreadMembersResponse, ThreadReadRequest, ThreadRoleRequest, ThreadUpdateRequest,
    },
};
use tokio::sync::broadcast;

use crate::{error::Error, node::AgentNode};

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

    /// Declines an invitation; the same as leaving a thread that one isn't in yet.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn decline(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.leave_thread(thread_id).await
    }

    /// Closes a thread for good: its members hear it and can still read, and nobody posts there any more. An owner that
    /// only [leaves](Self::leave_thread) hands over to the member that came first.
    ///
    /// # Errors
    /// `forbidden` unless this account is an owner; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn close_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        let request = ThreadJoinRequest { account_id: self.asks(), thread_id: thread_id.to_owned() };
        self.registry().thread_close(&request).await
    }

    /// Changes title, subject, metadata, or whether anybody may join; what isn't set stays.
    ///
    /// # Errors
    /// `forbidden` unless this account is an owner or admin; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn update_thread(
        &self,
        mut request: ThreadUpdateRequest,
    ) -> Result<ThreadMembersResponse, Error> {
        request.account_id = self.asks();
        self.registry().thread_update(&request).await
    }

    /// Says what a member may do. A thread keeps one owner at least.
    ///
    /// # Errors
    /// `forbidden` unless this account is an owner, `not_a_member`, `thread_owner`; as
    /// [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn set_thread_role(
        &self,
        thread_id: &str,
        member: &str,
        role: MemberRole,
    ) -> Result<ThreadMembersResponse, Error> {
        let member = AccountId::new(member)
            .map_err(|code: ErrorCode| Error::of(code, format!("{member:?} is no account id")))?;
        let request = ThreadRoleRequest {
            account_id: self.asks(),
            thread_id: thread_id.to_owned(),
            member: member.to_string(),
            role,
        };
        self.registry().thread_role(&request).await
    }

    /// One page of this account's threads with members, latest activity first, with what it hasn't read there.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn conversations(
        &self,
        mut request: ConversationListRequest,
    ) -> Result<ConversationListResponse, Error> {
        request.account_id = self.asks();
        self.registry().conversation_list(&request).await
    }

    /// Says that this account has read a thread up to a message, or all of it; how much it hasn't read then. What it sends
    /// itself is never unread.
    ///
    /// # Errors
    /// `not_found` where it isn't a member, or there is no such message; as
    /// [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn mark_read(&self, thread_id: &str, up_to: Option<&str>) -> Result<i64, Error> {
        let request = ThreadReadRequest {
            account_id: self.asks(),
            thread_id: thread_id.to_owned(),
            up_to: up_to.map(str::to_owned),
        };
        Ok(self.registry().thread_read(&request).await?.unread)
    }

    /// News of this account's threads: who was invited, joined, left or was put out, and what was changed or closed. They
    /// are told once and not kept: after a pause, ask for [`conversations`](Self::conversations). A receiver that is more than 256
    /// behind misses the oldest.
    pub fn thread_events(&self) -> broadcast::Receiver<ThreadEvent> {
        self.inner.thread_news.subscribe()
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
