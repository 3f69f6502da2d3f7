//! Signature v2, as a client makes it.

use std::{fmt, sync::Arc};

use agentnet_proto::{
    SharedClock, SystemClock, SystemIds,
    ids::SharedIds,
    signature::{Deployment, HEADER, NONCE_HEADER, Nonce, PublicKey, Purpose, SecretKey, SignatureHeader},
};
use async_nats::HeaderMap;

use crate::identity::Identity;

/// Signs for one key in one network: a signature made for another network means nothing there.
///
/// [`RegistryClient::signed_by`](crate::RegistryClient::signed_by) takes one. `Debug` shows the public key only.
#[derive(Clone)]
pub struct Signer {
    key: SecretKey,
    deployment: Deployment,
    clock: SharedClock,
    ids: SharedIds,
}

impl Signer {
    /// Signs with the identity's key. The network's name is what
    /// [`RegistryClient::network`](crate::RegistryClient::network) answers.
    #[must_use]
    pub fn new(identity: &Identity, deployment: Deployment) -> Self {
        let clock = SystemClock::shared();
        let ids = Arc::new(SystemIds::new(Arc::clone(&clock)));
        Self::with(identity.key().clone(), deployment, clock, ids)
    }

    pub(crate) fn with(key: SecretKey, deployment: Deployment, clock: SharedClock, ids: SharedIds) -> Self {
        Self { key, deployment, clock, ids }
    }

    /// The same with another key.
    #[must_use]
    pub fn with_key(&self, key: SecretKey) -> Self {
        Self { key, ..self.clone() }
    }

    /// Whose signatures it makes.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.verifying()
    }

    pub(crate) fn signature(&self, purpose: &Purpose<'_>, body: &[u8]) -> String {
        SignatureHeader::sign(&self.key, purpose, &self.deployment, body).to_string()
    }

    /// Signature and nonce of a request.
    pub(crate) fn request(&self, body: &[u8], purpose: impl Fn(&Nonce) -> Purpose<'_>) -> HeaderMap {
        let nonce = Nonce::new(self.clock.as_ref(), self.ids.as_ref());
        let mut headers = headers(&self.signature(&purpose(&nonce), body));
        headers.insert(NONCE_HEADER, nonce.as_str());
        headers
    }

    /// The headers of a request that puts `new` in this key's place.
    pub(crate) fn rotation(&self, new: &SecretKey, body: &[u8]) -> HeaderMap {
        let nonce = Nonce::new(self.clock.as_ref(), self.ids.as_ref());
        let mut headers = headers(&self.signature(&Purpose::Rotate(&nonce), body));
        headers.append(HEADER, self.with_key(new.clone()).signature(&Purpose::RotateNew(&nonce), body));
        headers.insert(NONCE_HEADER, nonce.as_str());
        headers
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("public_key", &self.public_key())
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}

/// A signature as NATS carries it.
pub(crate) fn headers(signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, signature);
    headers
}
