//! Letting unknown keys in.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// Makes a token that lets unknown keys in.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn enrol(&self, request: &rpc::EnrolRequest) -> Result<rpc::EnrolResponse, Error> {
        self.call::<rpc::Enrol>(request).await
    }
}
