//! Files of the network: whole transfers, made of bounded chunks, which go on after an interruption.

mod file;
mod get;
mod pace;
mod put;
mod retry;

use std::{fmt, sync::Arc, time::Duration};

use agentnet_proto::{
    AccountId,
    rpc::{BlobInfo, BlobListRequest, BlobListResponse, BlobRequest},
};

pub use get::GetBlob;
pub use put::{BlobSource, PutBlob};
pub(crate) use retry::until_answered;

use crate::{error::Error, registry::RegistryClient};

/// How long a transfer goes on without getting anywhere: over a restart of the registry or of NATS.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are over.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
    /// Of a put: what [`PutBlob::resume`] takes when it is interrupted.
    pub upload_id: Option<Arc<str>>,
}

/// Hears how far a transfer is.
type Listener<'a> = Box<dyn FnMut(Progress) + Send + 'a>;

/// An account's files, and those it may read: [`AgentNode::blobs`](crate::AgentNode::blobs), or
/// [`RegistryClient::blobs`] without a node. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    registry: RegistryClient,
    account: Option<AccountId>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Blobs {
    pub(crate) fn new(registry: RegistryClient, account: Option<AccountId>) -> Self {
        Self { registry, account }
    }

    fn account_id(&self) -> Option<String> {
        self.account.as_ref().map(ToString::to_string)
    }

    fn request(&self, blob_id: &str) -> BlobRequest {
        BlobRequest { account_id: self.account_id(), blob_id: blob_id.to_owned() }
    }

    /// Puts bytes, a file (a path), or what a [reader](BlobSource::reader) gives.
    pub fn put<'a>(&self, source: impl Into<BlobSource<'a>>) -> PutBlob<'a> {
        PutBlob::new(self.clone(), source.into())
    }

    /// Gets a blob.
    pub fn get<'a>(&self, blob_id: impl Into<String>) -> GetBlob<'a> {
        GetBlob::new(self.clone(), blob_id.into())
    }

    /// What a blob is.
    ///
    /// # Errors
    /// As [`RegistryClient::blob_head`].
    pub async fn head(&self, blob_id: &str) -> Result<BlobInfo, Error> {
        self.registry.blob_head(&self.request(blob_id)).await
    }

    /// The account's blobs, the latest first: one page, from `cursor` on, with what they take of the quota.
    ///
    /// # Errors
    /// As [`RegistryClient::blob_list`].
    pub async fn list(&self, limit: Option<i64>, cursor: Option<String>) -> Result<BlobListResponse, Error> {
        self.registry.blob_list(&BlobListRequest { account_id: self.account_id(), limit, cursor }).await
    }

    /// Removes a blob; whether it was there. References to it lead nowhere then.
    ///
    /// # Errors
    /// As [`RegistryClient::blob_delete`].
    pub async fn delete(&self, blob_id: &str) -> Result<bool, Error> {
        self.registry.blob_delete(&self.request(blob_id)).await
    }
}
