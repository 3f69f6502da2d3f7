//! Whether a message or a receipt is whose it says it is: the checks that recipients, the persister and the network's
//! auditors share, in the original's order and with its codes.

use super::header::{SignatureError, SignatureHeader};
use super::public_key::PublicKey;
use super::purpose::{Deployment, Purpose};
use crate::dev_auth::{AuthBlock, MessageClaims, check_message, check_message_signature};
use crate::envelope::Envelope;
use crate::error::ErrorCode;
use crate::pyjson::payload_sha256;
use crate::security::Security;

/// What came with a message to prove its sender. Nothing is proved before [`check`](Self::check) has said so.
#[derive(Debug, Clone)]
pub enum MessageProof {
    /// Signature v2, beside the body.
    Header(SignatureHeader),
    /// `dev-ed25519-v1`, in the body; counts in signed mode only.
    Block(AuthBlock),
}

impl MessageProof {
    /// Reads the proof. A header counts before a block: one that is there and wrong isn't excused by the block.
    ///
    /// # Errors
    /// `auth_missing_from_account`, `auth_missing`, `auth_scheme_invalid`, `auth_payload_invalid`, in this order.
    pub fn of(envelope: &Envelope, header: Option<&str>, security: Security) -> Result<Self, ErrorCode> {
        let from = envelope.from_account_id.as_deref();
        if from.is_none_or(str::is_empty) {
            return Err(ErrorCode::AuthMissingFromAccount);
        }
        match (header, &envelope.auth) {
            (Some(text), _) => text.parse().map(Self::Header).map_err(SignatureError::code),
            (None, Some(block)) if security != Security::Secure => {
                let block = AuthBlock::from(block);
                check_message(from, Some(&block))?;
                Ok(Self::Block(block))
            }
            (None, _) => Err(ErrorCode::AuthMissing),
        }
    }

    /// Whether it proves that the holder of `key`, which speaks for the message's sender, sent exactly this message in
    /// this network. `body` is the message as it came, `envelope` what was read out of it.
    ///
    /// # Errors
    /// `auth_public_key_mismatch`, `auth_claims_mismatch`, `auth_signature_invalid`, in this order.
    pub fn check(
        &self,
        key: &PublicKey,
        deployment: &Deployment,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(), ErrorCode> {
        match self {
            Self::Header(header) => check_header(header, key, &Purpose::Message, deployment, body),
            Self::Block(block) => {
                // What has no canonical form has no hash that the signed one could equal.
                let hash =
                    payload_sha256(envelope.payload.get()).map_err(|_| ErrorCode::AuthClaimsMismatch)?;
                check_message_signature(block, &key.to_string(), &MessageClaims::of(envelope, &hash))
            }
        }
    }
}

/// Reads the header of something that only signature v2 can prove.
///
/// # Errors
/// `auth_missing`, `auth_scheme_invalid`, `auth_payload_invalid`.
pub fn read_header(header: Option<&str>) -> Result<SignatureHeader, ErrorCode> {
    header.ok_or(ErrorCode::AuthMissing)?.parse().map_err(SignatureError::code)
}

/// Whether the header is `key`'s signature of `body` for `purpose`.
///
/// # Errors
/// `auth_public_key_mismatch`, `auth_signature_invalid`.
pub fn check_header(
    header: &SignatureHeader,
    key: &PublicKey,
    purpose: &Purpose<'_>,
    deployment: &Deployment,
    body: &[u8],
) -> Result<(), ErrorCode> {
    if header.key != *key {
        return Err(ErrorCode::AuthPublicKeyMismatch);
    }
    // With the caller's key, which is decompressed already.
    SignatureHeader { key: *key, ..*header }.verify(purpose, deployment, body).map_err(SignatureError::code)
}
