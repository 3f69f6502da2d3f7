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
}
