//! What became of messages at their recipients.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
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
}
