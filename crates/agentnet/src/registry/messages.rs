//! Single messages.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// One page of the messages that fit the filters, newest first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn message_search(
        &self,
        request: &rpc::MessageSearchRequest,
    ) -> Result<rpc::MessageSearchResponse, Error> {
        self.call::<rpc::MessageSearch>(request).await
    }

    /// The whole path of one message.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when no such message is stored.
    pub async fn why(&self, message_id: &str) -> Result<rpc::WhyResponse, Error> {
        self.call::<rpc::Why>(&rpc::WhyRequest { message_id: message_id.to_owned() }).await
    }
}
