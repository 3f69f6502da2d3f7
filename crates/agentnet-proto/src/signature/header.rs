//! The header's text, signing and verifying.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::VERSION;
use super::public_key::PublicKey;
use super::purpose::{Deployment, Purpose, signing_bytes};
use crate::dev_auth::SecretKey;
use crate::error::ErrorCode;

/// Characters of a signature's text.
const SIGNATURE_TEXT_LEN: usize = 86;

/// A signature and the key it is said to be of; the value of [`super::HEADER`].
///
/// Parsed, it proves nothing until [`verify`](Self::verify) has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureHeader {
    /// Whose signature it claims to be.
    pub key: PublicKey,
    /// The 64 bytes.
    pub signature: [u8; 64],
}

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Another version, or no version at all.
    #[error("the signature's version is not {VERSION}; this network takes no other")]
    Version,
    /// Not three tokens, or the key or the signature can't be read, or the key is a weak one.
    #[error(
        "the signature header must read `{VERSION} <public key> <signature>` in base64url without padding"
    )]
    Malformed,
    /// It is not the key's signature of this body, for this purpose, in this network.
    #[error("the signature doesn't verify: the body, its purpose or the network differ from what was signed")]
    Invalid,
}

impl SignatureError {
    /// The code for a receipt or an answer.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Version => ErrorCode::AuthSchemeInvalid,
            Self::Malformed => ErrorCode::AuthPayloadInvalid,
            Self::Invalid => ErrorCode::AuthSignatureInvalid,
        }
    }
}

impl SignatureHeader {
    /// Signs `body`.
    #[must_use]
    pub fn sign(key: &SecretKey, purpose: &Purpose<'_>, deployment: &Deployment, body: &[u8]) -> Self {
        let signature = key.sign_bytes(&signing_bytes(purpose, deployment, body));
        Self { key: key.verifying(), signature }
    }

    /// Whether the key signed exactly this body, for this purpose, in this network. Says nothing about whose key it is.
    ///
    /// # Errors
    /// [`SignatureError::Invalid`].
    pub fn verify(
        &self,
        purpose: &Purpose<'_>,
        deployment: &Deployment,
        body: &[u8],
    ) -> Result<(), SignatureError> {
        if self.key.verifies(&signing_bytes(purpose, deployment, body), &self.signature) {
            Ok(())
        } else {
            Err(SignatureError::Invalid)
        }
    }
}

impl fmt::Display for SignatureHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} {} {}", self.key, URL_SAFE_NO_PAD.encode(self.signature))
    }
}

impl FromStr for SignatureHeader {
    type Err = SignatureError;

    /// One header has one spelling: single spaces, no padding.
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let (version, rest) = text.split_once(' ').ok_or(SignatureError::Version)?;
        if version != VERSION {
            return Err(SignatureError::Version);
        }
        let (key, signature_text) = rest.split_once(' ').ok_or(SignatureError::Malformed)?;
        let key = key.parse().map_err(|_| SignatureError::Malformed)?;
        let mut signature = [0; 64];
        let is_signature = signature_text.len() == SIGNATURE_TEXT_LEN
            && URL_SAFE_NO_PAD.decode_slice(signature_text, &mut signature) == Ok(64);
        if is_signature { Ok(Self { key, signature }) } else { Err(SignatureError::Malformed) }
    }
}
