//! Files, request by request. [`Blobs`](crate::Blobs) makes whole transfers out of these.

use std::time::Duration;

use agentnet_proto::{
    AccountId,
    blob::{frame, unframe},
    rpc::{self, RpcMethod},
};
use bytes::Bytes;

use super::{RegistryClient, decode, unwritable};
use crate::{
    blobs::Blobs,
    error::{Error, ErrorKind},
};

/// How long a begin, a chunk or a commit may take: a little longer than the registry tries for a chunk. A commit may take
/// longer where a replica has to read everything back; asked again, it goes on with that. A longer wait would be one for
/// replicas that died.
pub(crate) const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

impl RegistryClient {
    /// Whole transfers. `account` is who asks, on an open network, where nothing proves it.
    pub fn blobs(&self, account: Option<AccountId>) -> Blobs {
        Blobs::new(self.clone(), account)
    }

    /// Begins to put a blob, or goes on with an upload.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_bad_name`, `blob_too_large`, `blob_quota_full`, `blob_upload_unknown`.
    pub async fn blob_begin(&self, request: &rpc::BlobBeginRequest) -> Result<rpc::BlobBeginResponse, Error> {
        self.call_within::<rpc::BlobBegin>(request, CHUNK_TIMEOUT).await
    }

    /// Sends one chunk.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_bad_range`, `blob_too_large`, `blob_quota_full`, `blob_store_full`,
    /// `blob_upload_unknown`.
    pub async fn blob_write(
        &self,
        request: &rpc::BlobWriteRequest,
        chunk: &[u8],
    ) -> Result<rpc::BlobWriteResponse, Error> {
        self.blob_write_within(request, chunk, CHUNK_TIMEOUT).await
    }

    /// The same with another timeout, for a slow connection.
    pub(crate) async fn blob_write_within(
        &self,
        request: &rpc::BlobWriteRequest,
        chunk: &[u8],
        within: Duration,
    ) -> Result<rpc::BlobWriteResponse, Error> {
        let method = RpcMethod::BlobWrite;
        let body = frame(request, chunk).map_err(|e| unwritable(method, e))?;
        decode(method, &self.carry(method, body.into(), within).await?)
    }

    /// Makes an upload a blob. Asked again after an answer was lost, the registry answers alike.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_altered` when the content isn't what its SHA-256 says, `blob_bad_range` while
    /// something is missing, `blob_upload_unknown`.
    pub async fn blob_commit(&self, request: &rpc::BlobCommitRequest) -> Result<rpc::BlobInfo, Error> {
        Ok(self.call_within::<rpc::BlobCommit>(request, CHUNK_TIMEOUT).await?.blob)
    }

    /// What a blob is.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_gone`, `blob_forbidden`.
    pub async fn blob_head(&self, request: &rpc::BlobRequest) -> Result<rpc::BlobInfo, Error> {
        Ok(self.call::<rpc::BlobHead>(request).await?.blob)
    }

    /// Bytes of a blob: at most those asked for, fewer where the stored chunk ends.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_gone`, `blob_forbidden`, `blob_bad_range`, `blob_altered`.
    pub async fn blob_read(
        &self,
        request: &rpc::BlobReadRequest,
    ) -> Result<(rpc::BlobReadResponse, Bytes), Error> {
        self.blob_read_within(request, CHUNK_TIMEOUT).await
    }

    /// The same with another timeout, for a slow connection.
    pub(crate) async fn blob_read_within(
        &self,
        request: &rpc::BlobReadRequest,
        within: Duration,
    ) -> Result<(rpc::BlobReadResponse, Bytes), Error> {
        let method = RpcMethod::BlobRead;
        let body = serde_json::to_vec(request).map_err(|e| unwritable(method, e))?;
        let answer = self.carry(method, body.into(), within).await?;
        match unframe::<rpc::BlobReadResponse>(&answer) {
            Ok((head, data)) => Ok((head, answer.slice_ref(data))),
            Err(_) => Err(match decode::<rpc::BlobReadResponse>(method, &answer) {
                Err(error) => error,
                Ok(_) => {
                    Error::new(ErrorKind::RegistryFailed, "the answer to registry.blob_read holds no bytes")
                }
            }),
        }
    }

    /// An account's blobs, the latest first, one page.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn blob_list(&self, request: &rpc::BlobListRequest) -> Result<rpc::BlobListResponse, Error> {
        self.call::<rpc::BlobList>(request).await
    }

    /// Removes a blob; whether it was there.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_forbidden`.
    pub async fn blob_delete(&self, request: &rpc::BlobRequest) -> Result<bool, Error> {
        Ok(self.call::<rpc::BlobDelete>(request).await?.deleted)
    }

    /// Says, before a message is sent, that it refers to a blob.
    ///
    /// # Errors
    /// As [`call`](Self::call); `blob_gone`, and `blob_forbidden` for a blob that the caller can't read.
    pub async fn blob_share(&self, request: &rpc::BlobShareRequest) -> Result<rpc::BlobInfo, Error> {
        Ok(self.call::<rpc::BlobShare>(request).await?.blob)
    }
}
