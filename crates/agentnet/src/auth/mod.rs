//! Who speaks: signing what this node sends, checking what it receives. The node asks `Auth`; nobody else looks at
//! schemes.

mod block;
mod check;
mod holders;
mod keys;
mod open;
mod signer;

use std::sync::{Arc, Mutex};

use agentnet_proto::{
    AccountEvent, Security,
    dev_auth::SecretKey,
    signature::{Deployment, Purpose},
};

pub use crate::identity::original::{DEFAULT_KEY_DIR, key_file_name};
pub(crate) use block::Registrant;
pub(crate) use check::Unproved;
pub(crate) use open::{Terms, open_key};
pub use signer::Signer;
pub(crate) use signer::headers;

use crate::ttl_map::TtlMap;
use holders::Holders;
use keys::KeyBook;

/// Signs what this node sends and checks what it receives.
#[derive(Debug)]
pub(crate) struct Auth {
    security: Security,
    deployment: Option<Deployment>,
    /// Signature v2.
    signer: Option<Arc<Signer>>,
    /// `dev-ed25519-v1`, written for original SDKs beside signature v2.
    block: Option<SecretKey>,
    keys: KeyBook,
    holders: Holders,
    /// Sessions that were asked about, and whether they are older than 1.2.
    old_sessions: Mutex<TtlMap<bool>>,
}

impl Auth {
    pub(crate) fn new(
        security: Security,
        deployment: Option<Deployment>,
        signer: Option<Arc<Signer>>,
        block: Option<SecretKey>,
    ) -> Self {
        let block = block.filter(|_| security != Security::Secure);
        Self {
            security,
            deployment,
            signer,
            block,
            keys: KeyBook::default(),
            holders: Holders::default(),
            old_sessions: Mutex::new(TtlMap::new(check::OLD_SESSION_LIFE, check::MAX_OLD_SESSIONS)),
        }
    }

    /// The network's mode.
    pub(crate) fn security(&self) -> Security {
        self.security
    }

    /// Whether what comes in must prove its sender.
    pub(crate) fn checks(&self) -> bool {
        self.security.wants_signatures()
    }

    /// The header for something that is published as it is, again and again.
    pub(crate) fn signature(&self, purpose: &Purpose<'_>, body: &[u8]) -> Option<Arc<str>> {
        self.signer.as_ref().map(|signer| signer.signature(purpose, body).into())
    }

    /// The network says that something about an account's keys, standing or permissions changed.
    pub(crate) fn changed(&self, event: &AccountEvent) {
        self.keys.changed(event);
        self.holders.changed(event);
    }

    /// News may have been missed.
    pub(crate) fn forget_all(&self) {
        self.keys.forget_all();
        self.holders.forget_all();
    }
}
