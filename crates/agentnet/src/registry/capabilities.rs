//! Capabilities that take a grant.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
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
}
