//! Identities as text that leaves and enters the directory.

use std::path::Path;

use agentnet_proto::{Timestamp, signature::SecretKey};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Identity, IdentityError, Origin, document::Document, original};

/// How an identity is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportFormat {
    /// An identity file, with everything the identity has; encrypted when a password is given.
    #[default]
    Identity,
    /// A key file of the original AgentNet: the current key alone, never encrypted.
    Original,
    /// The NATS user seed, `SU...`: the current key alone, never encrypted.
    NkeySeed,
}

/// Writes the identity out. Only [`ExportFormat::Identity`] can be under a password.
pub(super) fn export(
    identity: &Identity,
    format: ExportFormat,
    now: Timestamp,
    password: Option<&SecretString>,
) -> Result<Zeroizing<String>, IdentityError> {
    match format {
        ExportFormat::Identity => {
            let mut text = Document::write(identity, identity.created_at.unwrap_or(now), password)?;
            // JSON is always text.
            String::from_utf8(std::mem::take(&mut *text))
                .map(Zeroizing::new)
                .map_err(|_| IdentityError::NotAnIdentity)
        }
        ExportFormat::Original => Ok(original::text(&identity.key)),
        ExportFormat::NkeySeed => {
            let mut seed = Zeroizing::new(String::with_capacity(64));
            seed.push_str(&Zeroizing::new(identity.key.expose_nkey_seed()));
            seed.push('\n');
            Ok(seed)
        }
    }
}

/// Reads what [`export`] writes, or the original did. `name` is given to what has none, and renames what has one.
pub(super) fn import(
    text: &str,
    name: Option<&str>,
    password: Option<&SecretString>,
) -> Result<Identity, IdentityError> {
    let path = Path::new("the text to import");
    let named = |key: SecretKey| {
        let name = name.ok_or(IdentityError::NameMissing)?.to_owned();
        Ok(Identity { name, key, retired: Vec::new(), created_at: None, origin: Origin::Store })
    };
    let bytes = text.as_bytes();
    if Document::is_ours(bytes) {
        let mut identity = Document::parse(path, bytes)?.open(path, password)?;
        if let Some(name) = name {
            name.clone_into(&mut identity.name);
        }
        return Ok(identity);
    }
    if let Ok(key) = SecretKey::from_nkey_seed(text.trim()) {
        return named(key);
    }
    match original::parse(path, bytes) {
        Ok(key) => named(key),
        Err(_) => Err(IdentityError::NotAnIdentity),
    }
}
