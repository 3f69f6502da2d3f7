//! Keys that verify.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::nkey::{self, NkeyError};
use crate::dev_auth::{KeyError, SecretKey};

/// Characters of a key's text.
const TEXT_LEN: usize = 43;

/// An Ed25519 key that verifies. Holds the decompressed point, so a cached key costs no square root to use.
///
/// One key has one text: another spelling, a point that isn't encoded canonically, and the weak points of small order
/// (under which one signature fits many messages) are refused.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of 32 raw bytes.
    ///
    /// # Errors
    /// When they are no point of the curve, not the canonical encoding of one, or a weak one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError)?;
        let is_canonical = key.to_edwards().compress().as_bytes() == bytes;
        if is_canonical && !key.is_weak() { Ok(Self(key)) } else { Err(KeyError) }
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The same key as the public key of a NATS user: `U` and 55 characters of base32.
    #[must_use]
    pub fn to_nkey(&self) -> String {
        nkey::encode_user(self.as_bytes())
    }

    /// Reads the public key of a NATS user.
    ///
    /// # Errors
    /// When the text is not one, or the key is one that [`Self::from_bytes`] refuses.
    pub fn from_nkey(text: &str) -> Result<Self, NkeyError> {
        Self::from_bytes(&nkey::decode_user(text)?).map_err(|_| NkeyError)
    }

    /// Whether the 64 bytes are this key's signature of `message`. Strict: a malleable or weak signature is none.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl SecretKey {
    /// The public half.
    #[must_use]
    pub fn verifying(&self) -> PublicKey {
        PublicKey(self.signing_key().verifying_key())
    }

    /// The seed as NATS writes it, `SU` and 56 characters of base32. The caller must keep it out of logs and wipe it.
    #[must_use]
    pub fn expose_nkey_seed(&self) -> String {
        nkey::encode_user_seed(self.signing_key().as_bytes())
    }

    /// Reads the seed of a NATS user.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn from_nkey_seed(text: &str) -> Result<Self, NkeyError> {
        Ok(Self::from_seed(&*nkey::decode_user_seed(text)?))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        // The engine refuses padding and stray trailing bits; the length is checked first so that nothing long is read.
        let is_key = text.len() == TEXT_LEN && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(32);
        if is_key { Self::from_bytes(&bytes) } else { Err(KeyError) }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
