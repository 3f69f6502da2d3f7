//! Entering: what network it is, and opening a session.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// The network's name and mode, and whom the caller speaks for.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn network(&self) -> Result<rpc::NetworkResponse, Error> {
        self.call::<rpc::Network>(&rpc::NetworkRequest {}).await
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn register(&self, request: &rpc::RegisterRequest) -> Result<rpc::RegisterResponse, Error> {
        self.call::<rpc::Register>(request).await
    }
}
