//! Keys and signatures in the original's text form: base64url without padding.

use std::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Writes without padding and reads either way, as the original's decoder re-adds what is missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text is not a key: base64url of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is the base64url of 32 bytes (43 characters)")]
pub struct KeyError;

/// An Ed25519 key that signs. Wiped when dropped; `Debug` shows the public key only.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(SigningKey::generate(&mut rand::rng()))
    }

    /// The key of a 32-byte seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads the seed from base64url, padded or not.
    ///
    /// # Errors
    /// When the text is not the base64url of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_seed(&decode(text).ok_or(KeyError)?))
    }

    /// The seed as base64url, for the key file. The caller must keep it out of logs and wipe it.
    #[must_use]
    pub fn expose_base64(&self) -> String {
        BASE64.encode(self.0.as_bytes())
    }

    /// The public key as base64url without padding, 43 characters.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64.encode(self.0.verifying_key().as_bytes())
    }

    /// Signs `message`: base64url without padding, 86 characters.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        BASE64.encode(self.sign_bytes(message))
    }

    /// Signs `message`: the 64 raw bytes.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// Whether `signature` over `message` was made by `public_key`, both as base64url; text that decodes to neither
/// is a wrong signature. Strict: refuses weak keys and malleable signatures.
#[must_use]
pub fn verify(public_key: &str, message: &[u8], signature: &str) -> bool {
    let key = decode(public_key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let signature = decode(signature).map(|bytes| Signature::from_bytes(&bytes));
    match (key, signature) {
        (Some(key), Some(signature)) => key.verify_strict(message, &signature).is_ok(),
        _ => false,
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The padded length of N bytes: anything longer isn't worth decoding.
    if text.len() > N.div_ceil(3) * 4 {
        return None;
    }
    BASE64.decode(text).ok()?.try_into().ok()
}
