//! Keys of accounts.

use agentnet_proto::{
    rpc,
    signature::{PublicKey, SecretKey},
};

use super::RegistryClient;
use crate::error::{Error, ErrorKind};

impl RegistryClient {
    /// The public key bound to an account.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] when none is bound.
    pub async fn resolve_key(&self, account_id: &str) -> Result<rpc::ResolveKeyResponse, Error> {
        let request = rpc::ResolveKeyRequest { account_id: account_id.to_owned(), ..Default::default() };
        self.call::<rpc::ResolveKey>(&request).await
    }

    /// Whether an account may serve a capability: it registered it, and was granted it where that is restricted. `None` from
    /// a registry that doesn't say.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn serves(&self, account_id: &str, capability: &str) -> Result<Option<bool>, Error> {
        let request = rpc::ResolveKeyRequest {
            account_id: account_id.to_owned(),
            capability: Some(capability.to_owned()),
            ..Default::default()
        };
        match self.call::<rpc::ResolveKey>(&request).await {
            Ok(found) => Ok(found.serves),
            // One that doesn't know the question looks for a key.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `key` speaks for the account: it is what is answered then, the account's own key else.
    pub(crate) async fn resolve_key_of(
        &self,
        account_id: &str,
        key: Option<&PublicKey>,
    ) -> Result<rpc::ResolveKeyResponse, Error> {
        let public_key = key.map(ToString::to_string);
        let request =
            rpc::ResolveKeyRequest { account_id: account_id.to_owned(), public_key, ..Default::default() };
        self.call::<rpc::ResolveKey>(&request).await
    }

    /// Every key of its own that the account has and had, the latest first.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`] when there was never one.
    pub async fn key_history(&self, account_id: &str) -> Result<Vec<rpc::KeyRow>, Error> {
        let request =
            rpc::ResolveKeyRequest { account_id: account_id.to_owned(), history: true, ..Default::default() };
        Ok(self.call::<rpc::ResolveKey>(&request).await?.keys)
    }

    /// Puts `new` in the place of the key that [signs](Self::signed_by), which then means nothing any more. Asked again
    /// after an answer was lost, the registry answers alike.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::Auth`] when the key that signs speaks for no account, or `new` is in use.
    pub async fn rotate(&self, new: &SecretKey) -> Result<rpc::RotateResponse, Error> {
        let request = rpc::RotateRequest { account_id: None, public_key: new.public_key() };
        self.must_sign("rotate")?;
        self.call_with::<rpc::Rotate>(&request, self.timeout, |signer, body| Some(signer.rotation(new, body)))
            .await
    }

    /// Takes a key out of use: the account's own, or for an operator anybody's.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::Auth`] when the one that [signs](Self::signed_by) may not.
    pub async fn revoke(&self, request: &rpc::RevokeRequest) -> Result<rpc::RevokeResponse, Error> {
        self.must_sign("revoke")?;
        self.call::<rpc::Revoke>(request).await
    }

    fn must_sign(&self, method: &str) -> Result<(), Error> {
        if self.signer.is_some() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Auth, format!("registry.{method} must be signed; name an identity")))
    }
}
