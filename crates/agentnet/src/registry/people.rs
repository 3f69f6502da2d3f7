//! Peers, blocks, documents, and who is online.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// Which of some accounts are online.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn online(&self, request: &rpc::OnlineRequest) -> Result<rpc::OnlineResponse, Error> {
        self.call::<rpc::Online>(request).await
    }

    /// Notes an account as a peer.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn peer_add(&self, request: &rpc::PeerAddRequest) -> Result<rpc::PeerAddResponse, Error> {
        self.call::<rpc::PeerAdd>(request).await
    }

    /// Forgets a peer.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn peer_remove(
        &self,
        request: &rpc::PeerRemoveRequest,
    ) -> Result<rpc::PeerRemoveResponse, Error> {
        self.call::<rpc::PeerRemove>(request).await
    }

    /// One page of the peers.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn peer_list(&self, request: &rpc::PeerListRequest) -> Result<rpc::PeerListResponse, Error> {
        self.call::<rpc::PeerList>(request).await
    }

    /// Refuses an account's messages.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn block_add(&self, request: &rpc::BlockRequest) -> Result<rpc::BlockResponse, Error> {
        self.call::<rpc::BlockAdd>(request).await
    }

    /// Takes an account's messages again.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn block_remove(&self, request: &rpc::BlockRequest) -> Result<rpc::BlockResponse, Error> {
        self.call::<rpc::BlockRemove>(request).await
    }

    /// One page of the blocked accounts.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn block_list(&self, request: &rpc::BlockListRequest) -> Result<rpc::BlockListResponse, Error> {
        self.call::<rpc::BlockList>(request).await
    }

    /// Keeps a document.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn data_put(&self, request: &rpc::DataPutRequest) -> Result<rpc::DataPutResponse, Error> {
        self.call::<rpc::DataPut>(request).await
    }

    /// One document.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn data_get(&self, request: &rpc::DataGetRequest) -> Result<rpc::DataGetResponse, Error> {
        self.call::<rpc::DataGet>(request).await
    }

    /// One page of documents.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn data_list(&self, request: &rpc::DataListRequest) -> Result<rpc::DataListResponse, Error> {
        self.call::<rpc::DataList>(request).await
    }

    /// Removes a document.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn data_delete(
        &self,
        request: &rpc::DataDeleteRequest,
    ) -> Result<rpc::DataDeleteResponse, Error> {
        self.call::<rpc::DataDelete>(request).await
    }
}
