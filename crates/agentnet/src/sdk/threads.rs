//! Threads with members: the calls of the node below, in one place with the rest.

use agentnet_proto::rpc::{
    ConversationListRequest, ConversationListResponse, MemberRole, ThreadCreateRequest,
    ThreadMembersResponse, ThreadUpdateRequest,
};

use super::Sdk;
use crate::error::Error;

impl Sdk {
    /// As [`AgentNode::create_thread`](crate::AgentNode::create_thread).
    ///
    /// # Errors
    /// As there.
    pub async fn create_thread(&self, title: &str, invite: &[&str]) -> Result<ThreadMembersResponse, Error> {
        self.node.create_thread(title, invite).await
    }

    /// As [`AgentNode::create_thread_as`](crate::AgentNode::create_thread_as).
    ///
    /// # Errors
    /// As there.
    pub async fn create_thread_as(
        &self,
        request: ThreadCreateRequest,
    ) -> Result<ThreadMembersResponse, Error> {
        self.node.create_thread_as(request).await
    }

    /// As [`AgentNode::invite`](crate::AgentNode::invite).
    ///
    /// # Errors
    /// As there.
    pub async fn invite(&self, thread_id: &str, accounts: &[&str]) -> Result<ThreadMembersResponse, Error> {
        self.node.invite(thread_id, accounts).await
    }

    /// As [`AgentNode::join_thread`](crate::AgentNode::join_thread).
    ///
    /// # Errors
    /// As there.
    pub async fn join_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.node.join_thread(thread_id).await
    }

    /// As [`AgentNode::decline`](crate::AgentNode::decline).
    ///
    /// # Errors
    /// As there.
    pub async fn decline(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.node.decline(thread_id).await
    }

    /// As [`AgentNode::leave_thread`](crate::AgentNode::leave_thread).
    ///
    /// # Errors
    /// As there.
    pub async fn leave_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.node.leave_thread(thread_id).await
    }

    /// As [`AgentNode::eject`](crate::AgentNode::eject).
    ///
    /// # Errors
    /// As there.
    pub async fn eject(&self, thread_id: &str, accounts: &[&str]) -> Result<ThreadMembersResponse, Error> {
        self.node.eject(thread_id, accounts).await
    }

    /// As [`AgentNode::close_thread`](crate::AgentNode::close_thread).
    ///
    /// # Errors
    /// As there.
    pub async fn close_thread(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.node.close_thread(thread_id).await
    }

    /// As [`AgentNode::update_thread`](crate::AgentNode::update_thread).
    ///
    /// # Errors
    /// As there.
    pub async fn update_thread(&self, request: ThreadUpdateRequest) -> Result<ThreadMembersResponse, Error> {
        self.node.update_thread(request).await
    }

    /// As [`AgentNode::set_thread_role`](crate::AgentNode::set_thread_role).
    ///
    /// # Errors
    /// As there.
    pub async fn set_thread_role(
        &self,
        thread_id: &str,
        member: &str,
        role: MemberRole,
    ) -> Result<ThreadMembersResponse, Error> {
        self.node.set_thread_role(thread_id, member, role).await
    }

    /// As [`AgentNode::thread_members`](crate::AgentNode::thread_members).
    ///
    /// # Errors
    /// As there.
    pub async fn thread_members(&self, thread_id: &str) -> Result<ThreadMembersResponse, Error> {
        self.node.thread_members(thread_id).await
    }

    /// As [`AgentNode::conversations`](crate::AgentNode::conversations).
    ///
    /// # Errors
    /// As there.
    pub async fn conversations(
        &self,
        request: ConversationListRequest,
    ) -> Result<ConversationListResponse, Error> {
        self.node.conversations(request).await
    }

    /// As [`AgentNode::mark_read`](crate::AgentNode::mark_read).
    ///
    /// # Errors
    /// As there.
    pub async fn mark_read(&self, thread_id: &str, up_to: Option<&str>) -> Result<i64, Error> {
        self.node.mark_read(thread_id, up_to).await
    }

    /// As [`AgentNode::accept_invitations`](crate::AgentNode::accept_invitations).
    pub fn accept_invitations(&self) {
        self.node.accept_invitations();
    }
}
