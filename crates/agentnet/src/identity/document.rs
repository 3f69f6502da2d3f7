//! The file's format, version 1; `docs/IDENTITY.md` tells it in prose.

use std::path::Path;

use agentnet_proto::{
    Timestamp,
    signature::{PublicKey, SecretKey},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Identity, IdentityError, MAX_RETIRED, Origin, RetiredKey,
    seal::{OpenError, Sealed},
};

pub(super) const FORMAT: &str = "agentnet-identity";
const VERSION: u64 = 1;
/// Room for all keys a file may hold, so that writing them never moves them.
const ROOM: usize = 8 * 1024;

/// The file. Exactly one of `keys` and `sealed` is there.
#[derive(Serialize, Deserialize)]
pub(super) struct Document {
    format: String,
    version: u64,
    pub(super) name: String,
    pub(super) public_key: PublicKey,
    pub(super) created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Keys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<Sealed>,
}

/// Only enough to tell whose file it is.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    /// 32 bytes, base64url.
    private_key: Zeroizing<String>,
    #[serde(default)]
    retired: Vec<Retired>,
}

#[derive(Serialize, Deserialize)]
struct Retired {
    private_key: Zeroizing<String>,
    public_key: PublicKey,
    retired_at: Timestamp,
}

impl Document {
    /// Whether the text says that it is one of ours.
    pub(super) fn is_ours(text: &[u8]) -> bool {
        serde_json::from_slice::<Head>(text).is_ok_and(|head| head.format == FORMAT)
    }

    /// Reads the text of `path`. The parser's own errors could quote it; they are left out.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, IdentityError> {
        let damaged = |what| IdentityError::damaged(path, what);
        let head: Head =
            serde_json::from_slice(text).map_err(|_| damaged("it isn't the JSON of an identity"))?;
        if head.format != FORMAT {
            return Err(damaged("it says to be something else than an identity"));
        }
        if head.version != VERSION {
            return Err(IdentityError::VersionUnsupported { path: path.to_owned(), version: head.version });
        }
        let document: Self =
            serde_json::from_slice(text).map_err(|_| damaged("a field is missing or can't be read"))?;
        if document.keys.is_some() == document.sealed.is_some() {
            return Err(damaged("it must hold either plain or encrypted keys"));
        }
        Ok(document)
    }

    /// The identity in it.
    pub(super) fn open(
        self,
        path: &Path,
        password: Option<&SecretString>,
    ) -> Result<Identity, IdentityError> {
        let damaged = |what| IdentityError::damaged(path, what);
        let bound = self.bound();
        let Self { name, public_key, created_at, keys, sealed, .. } = self;
        let keys = match (keys, sealed) {
            (Some(keys), _) => keys,
            (None, Some(sealed)) => {
                let Some(password) = password else { return Err(IdentityError::PasswordRequired { name }) };
                let plain = match sealed.open(password, &bound) {
                    Ok(plain) => plain,
                    Err(OpenError::Refused) => return Err(IdentityError::PasswordWrong { name }),
                    Err(OpenError::Damaged(what)) => return Err(damaged(what)),
                };
                serde_json::from_slice(&plain).map_err(|_| damaged("its encrypted part can't be read"))?
            }
            (None, None) => return Err(damaged("it holds no key")),
        };
        let key = secret(&keys.private_key, &public_key).ok_or_else(|| damaged(MISFIT))?;
        if keys.retired.len() > MAX_RETIRED {
            return Err(damaged("it holds too many replaced keys"));
        }
        let retired = keys.retired.iter().map(|old| {
            let key = secret(&old.private_key, &old.public_key).ok_or_else(|| damaged(MISFIT))?;
            Ok(RetiredKey { key, retired_at: old.retired_at })
        });
        let retired = retired.collect::<Result<_, IdentityError>>()?;
        Ok(Identity { name, key, retired, created_at: Some(created_at), origin: Origin::Store })
    }

    /// The text of a file that holds `identity`.
    pub(super) fn write(
        identity: &Identity,
        created_at: Timestamp,
        password: Option<&SecretString>,
    ) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let keys = Keys {
            private_key: Zeroizing::new(identity.key.expose_base64()),
            retired: identity.retired.iter().map(Retired::of).collect(),
        };
        let mut document = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: identity.name.clone(),
            public_key: identity.public_key(),
            created_at,
            keys: None,
            sealed: None,
        };
        match password {
            None => document.keys = Some(keys),
            Some(password) if password.expose_secret().is_empty() => {
                return Err(IdentityError::PasswordEmpty);
            }
            Some(password) => {
                let mut plain = Zeroizing::new(Vec::with_capacity(ROOM));
                json(&mut plain, &keys, false)?;
                document.sealed = Some(Sealed::head());
                let bound = document.bound();
                let sealed = document.sealed.as_mut().map(|sealed| sealed.seal(password, &plain, &bound));
                if !matches!(sealed, Some(Ok(()))) {
                    return Err(IdentityError::Io {
                        doing: "encrypt",
                        path: identity.name.clone().into(),
                        source: std::io::ErrorKind::OutOfMemory.into(),
                    });
                }
            }
        }
        let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
        json(&mut text, &document, true)?;
        text.push(b'\n');
        Ok(text)
    }

    /// What is authenticated with the sealed keys: everything else in the file.
    fn bound(&self) -> Vec<u8> {
        let Some(sealed) = &self.sealed else { return Vec::new() };
        let bare = Self {
            format: self.format.clone(),
            version: self.version,
            name: self.name.clone(),
            public_key: self.public_key,
            created_at: self.created_at,
            keys: None,
            sealed: Some(sealed.bare()),
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&bare).unwrap_or_default()
    }
}

impl Retired {
    fn of(old: &RetiredKey) -> Self {
        Self {
            private_key: Zeroizing::new(old.key.expose_base64()),
            public_key: old.key.verifying(),
            retired_at: old.retired_at,
        }
    }
}

const MISFIT: &str = "a private key in it can't be read or doesn't belong to its public key";

fn secret(text: &str, public: &PublicKey) -> Option<SecretKey> {
    SecretKey::from_base64(text).ok().filter(|key| key.verifying() == *public)
}

fn json<T: Serialize>(out: &mut Vec<u8>, value: &T, pretty: bool) -> Result<(), IdentityError> {
    let written =
        if pretty { serde_json::to_writer_pretty(out, value) } else { serde_json::to_writer(out, value) };
    written.map_err(|error| IdentityError::io("encode", "the identity")(error.into()))
}
