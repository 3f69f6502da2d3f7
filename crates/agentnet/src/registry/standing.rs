//! Operators and suspended accounts.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
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
}
