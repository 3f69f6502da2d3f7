//! Threads and what is in them.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// Threads by id or participant, latest activity first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_list(
        &self,
        request: &rpc::ThreadListRequest,
    ) -> Result<rpc::ThreadListResponse, Error> {
        self.call::<rpc::ThreadList>(request).await
    }

    /// One thread's counters.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown thread.
    pub async fn thread_status(&self, thread_id: &str) -> Result<rpc::ThreadStatusResponse, Error> {
        self.call::<rpc::ThreadStatus>(&rpc::ThreadStatusRequest { thread_id: thread_id.to_owned() }).await
    }

    /// One page of a thread, newest first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn thread_messages(
        &self,
        request: &rpc::ThreadMessagesRequest,
    ) -> Result<rpc::ThreadMessagesResponse, Error> {
        self.call::<rpc::ThreadMessages>(request).await
    }
}
