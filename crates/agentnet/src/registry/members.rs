//! Threads with members.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
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

    /// Changes what a thread says about itself.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_update(
        &self,
        request: &rpc::ThreadUpdateRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadUpdate>(request).await
    }

    /// Says what a member may do.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_role(
        &self,
        request: &rpc::ThreadRoleRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadRole>(request).await
    }

    /// Closes a thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_close(
        &self,
        request: &rpc::ThreadJoinRequest,
    ) -> Result<rpc::ThreadMembersResponse, Error> {
        self.call::<rpc::ThreadClose>(request).await
    }

    /// Says how far a member has read.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_read(
        &self,
        request: &rpc::ThreadReadRequest,
    ) -> Result<rpc::ThreadReadResponse, Error> {
        self.call::<rpc::ThreadRead>(request).await
    }

    /// One page of an account's threads with members, with what it hasn't read there.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn conversation_list(
        &self,
        request: &rpc::ConversationListRequest,
    ) -> Result<rpc::ConversationListResponse, Error> {
        self.call::<rpc::ConversationList>(request).await
    }
}
