//! One's own profile, friends, blocks and documents, and who is online.

use agentnet_proto::{
    Payload,
    rpc::{
        BlockListRequest, BlockListResponse, BlockRequest, BlockResponse, DataDeleteRequest, DataGetRequest,
        DataListRequest, DataListResponse, DataPutRequest, Document, MAX_ONLINE, OnlineAccount,
        OnlineRequest, Peer, PeerAddRequest, PeerListRequest, PeerListResponse, PeerRemoveRequest,
        ProfileUpdateRequest, ProfileUpdateResponse,
    },
};
use serde::Serialize;

use crate::{
    error::{Error, ErrorKind},
    node::AgentNode,
    send::payload_of,
    target::{IntoTarget, Target},
};

/// What an account keeps on the network. Accounts are named by id or username, in every form that [`Target::parse`] reads.
impl AgentNode {
    /// Changes what the account says about itself; what isn't set stays.
    ///
    /// # Errors
    /// `invalid_field` for what can't stand there, `capability_restricted`; as
    /// [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn update_profile(
        &self,
        mut update: ProfileUpdateRequest,
    ) -> Result<ProfileUpdateResponse, Error> {
        update.account_id = self.asks();
        self.registry().profile_update(&update).await
    }

    /// Notes an account as a friend. Adding again changes the note, if there is one. Friends are one-sided, and the same
    /// list as the coordinator's peers.
    ///
    /// # Errors
    /// `not_found`, `limit_reached`; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn add_friend(&self, who: impl IntoTarget, note: Option<&str>) -> Result<Peer, Error> {
        let request = PeerAddRequest {
            account_id: self.asks(),
            peer: who_of(who)?,
            note: note.map(str::to_owned),
            ..PeerAddRequest::default()
        };
        Ok(self.registry().peer_add(&request).await?.peer)
    }

    /// Forgets a friend; whether it was one.
    ///
    /// # Errors
    /// `not_found` for an unknown account; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn remove_friend(&self, who: impl IntoTarget) -> Result<bool, Error> {
        let request =
            PeerRemoveRequest { account_id: self.asks(), peer: who_of(who)?, ..PeerRemoveRequest::default() };
        Ok(self.registry().peer_remove(&request).await?.removed)
    }

    /// One page of the friends, at most `limit` (50 unless given, 200 at most), from `cursor` on.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn friends(&self, limit: Option<i64>, cursor: Option<&str>) -> Result<PeerListResponse, Error> {
        let cursor = cursor.map(str::to_owned);
        self.registry().peer_list(&PeerListRequest { account_id: self.asks(), limit, cursor }).await
    }

    /// Refuses an account's messages from now on with the code `blocked`, also while this account is away, and those that
    /// wait already.
    ///
    /// # Errors
    /// `not_found`, `limit_reached`; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn block(&self, who: impl IntoTarget) -> Result<BlockResponse, Error> {
        let request = BlockRequest { account_id: self.asks(), target: who_of(who)? };
        let answer = self.registry().block_add(&request).await?;
        self.blocks_changed().await;
        Ok(answer)
    }

    /// Takes an account's messages again.
    ///
    /// # Errors
    /// `not_found` for an unknown account; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn unblock(&self, who: impl IntoTarget) -> Result<BlockResponse, Error> {
        let request = BlockRequest { account_id: self.asks(), target: who_of(who)? };
        let answer = self.registry().block_remove(&request).await?;
        self.blocks_changed().await;
        Ok(answer)
    }

    /// One page of the blocked accounts, at most `limit` (100 unless given, 1000 at most), from `cursor` on.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn blocked(
        &self,
        limit: Option<i64>,
        cursor: Option<&str>,
    ) -> Result<BlockListResponse, Error> {
        let cursor = cursor.map(str::to_owned);
        self.registry().block_list(&BlockListRequest { account_id: self.asks(), limit, cursor }).await
    }

    /// Here at once; the account's other sessions hear it from the registry.
    async fn blocks_changed(&self) {
        self.inner.blocks.changed();
        if let Err(error) = self.inner.refresh_blocks().await {
            tracing::warn!(%error, "whom the account blocks couldn't be read; the network still refuses them");
        }
    }

    /// Which accounts are online, in the order asked. One request for every 256.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call). An unknown account is no error: it has no `account_id`.
    pub async fn online_status(&self, accounts: &[&str]) -> Result<Vec<OnlineAccount>, Error> {
        let mut found = Vec::with_capacity(accounts.len());
        for part in accounts.chunks(MAX_ONLINE) {
            let accounts = part.iter().map(|who| who_of(*who)).collect::<Result<_, _>>()?;
            found.extend(self.registry().online(&OnlineRequest { accounts }).await?.accounts);
        }
        Ok(found)
    }

    /// Keeps a JSON value of at most 64 KiB under a key, for this account alone or, if `public`, for everybody.
    ///
    /// # Errors
    /// `payload_too_large`, `limit_reached`, `invalid_field`; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn put_data<T: Serialize>(&self, key: &str, value: T, public: bool) -> Result<Document, Error> {
        let value = Some(payload_of(&value)?);
        let request = DataPutRequest { account_id: self.asks(), key: key.to_owned(), value, public };
        Ok(self.registry().data_put(&request).await?.document)
    }

    /// The value that this account keeps under a key.
    ///
    /// # Errors
    /// `not_found`; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn get_data(&self, key: &str) -> Result<Payload, Error> {
        self.document(None, key).await
    }

    /// The value that an account keeps under a key for everybody.
    ///
    /// # Errors
    /// `not_found`, also for what is private; as [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn get_data_of(&self, owner: impl IntoTarget, key: &str) -> Result<Payload, Error> {
        self.document(Some(who_of(owner)?), key).await
    }

    async fn document(&self, owner: Option<String>, key: &str) -> Result<Payload, Error> {
        let request = DataGetRequest { account_id: self.asks(), owner, key: key.to_owned() };
        let found = self.registry().data_get(&request).await?.document;
        found.value.ok_or_else(|| Error::new(ErrorKind::RegistryFailed, "the registry answered no value"))
    }

    /// One page of documents: one's own, another account's public ones, or everybody's.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn list_data(&self, mut request: DataListRequest) -> Result<DataListResponse, Error> {
        request.account_id = self.asks();
        self.registry().data_list(&request).await
    }

    /// One page of everybody's public documents with their values, from `cursor` on.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn public_data(&self, cursor: Option<&str>) -> Result<DataListResponse, Error> {
        let cursor = cursor.map(str::to_owned);
        self.list_data(DataListRequest { all: true, values: true, cursor, ..DataListRequest::default() })
            .await
    }

    /// Removes a document; whether there was one.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn delete_data(&self, key: &str) -> Result<bool, Error> {
        let request = DataDeleteRequest { account_id: self.asks(), key: key.to_owned() };
        Ok(self.registry().data_delete(&request).await?.deleted)
    }
}

/// The account as the registry reads it.
fn who_of(who: impl IntoTarget) -> Result<String, Error> {
    match who.into_target()? {
        Target::Account(id) => Ok(id.to_string()),
        Target::Username(name) => Ok(format!("@{name}")),
        other => {
            let detail = format!("{other} is no account; name one by id or username");
            Err(Error::new(ErrorKind::InvalidTarget, detail))
        }
    }
}
