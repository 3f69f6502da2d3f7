//! The checks of the original, in its order, with its codes.

use std::time::Duration;

use super::SCHEME;
use super::block::AuthBlock;
use super::claims::MessageClaims;
use crate::error::ErrorCode;
use crate::timestamp::Timestamp;
use crate::username::normalize_username;

/// What the claims of a register request must agree with.
#[derive(Debug, Clone, Copy)]
pub struct RegisterExpectation<'a> {
    /// The request's `agent_id`.
    pub agent_id: &'a str,
    /// The request's `name`, or `agent_id` when it gave none.
    pub name: &'a str,
    /// Whether the request itself named a username.
    pub username_given: bool,
    /// The username the account gets.
    pub username: &'a str,
    /// The account's id.
    pub account_id: &'a str,
}

/// What a register request proved: the holder of `public_key` made it, under `nonce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterProof<'a> {
    /// To be bound to the account, or compared, as text, with the key that is.
    pub public_key: &'a str,
    /// To be refused when the account used it before.
    pub nonce: &'a str,
}

/// All checks of a register request that need no memory.
///
/// A signer that named no username may leave the claim empty (the original refused that, which made dev auth
/// useless to its own command line); a request that names one must sign it.
///
/// # Errors
/// The first check that fails, as a code for the reply.
pub fn check_register<'a>(
    auth: Option<&'a AuthBlock>,
    expected: &RegisterExpectation<'_>,
    now: Timestamp,
    max_skew: Duration,
) -> Result<RegisterProof<'a>, ErrorCode> {
    let auth = check_shape(auth.ok_or(ErrorCode::AuthRequired)?)?;
    let claim = |name: &str| auth.claims.get(name).map_or("", String::as_str);
    let (timestamp, nonce) = (claim("timestamp"), claim("nonce"));
    if timestamp.is_empty() || nonce.is_empty() {
        return Err(ErrorCode::AuthClaimsInvalid);
    }
    if claim("agent_id") != expected.agent_id {
        return Err(ErrorCode::AuthClaimsAgentMismatch);
    }
    if claim("name") != expected.name {
        return Err(ErrorCode::AuthClaimsNameMismatch);
    }
    let left_open = claim("username").is_empty() && !expected.username_given;
    if !left_open && normalize_username(claim("username")) != expected.username {
        return Err(ErrorCode::AuthClaimsUsernameMismatch);
    }
    if !matches!(claim("account_id"), account if account.is_empty() || account == expected.account_id) {
        return Err(ErrorCode::AuthClaimsAccountMismatch);
    }
    let signed_at = Timestamp::parse(timestamp).ok_or(ErrorCode::AuthClaimsTimestampInvalid)?;
    if signed_at > now.saturating_add(max_skew) || signed_at < now.saturating_sub(max_skew) {
        return Err(ErrorCode::AuthClaimsTimestampSkew);
    }
    if !auth.verifies() {
        return Err(ErrorCode::AuthSignatureInvalid);
    }
    Ok(RegisterProof { public_key: &auth.public_key, nonce })
}

/// The checks of a message before its sender's key is looked up.
///
/// # Errors
/// The first check that fails, as a code for the receipt.
pub fn check_message<'a>(
    from_account_id: Option<&str>,
    auth: Option<&'a AuthBlock>,
) -> Result<&'a AuthBlock, ErrorCode> {
    if from_account_id.is_none_or(str::is_empty) {
        return Err(ErrorCode::AuthMissingFromAccount);
    }
    check_shape(auth.ok_or(ErrorCode::AuthMissing)?)
}

/// The checks of a message after: `bound_key` is what the registry has for `expected.from_account_id`
/// ([`ErrorCode::AuthKeyNotFound`] when it has none), `expected` is filled from the envelope itself.
///
/// # Errors
/// The first check that fails, as a code for the receipt.
pub fn check_message_signature(
    auth: &AuthBlock,
    bound_key: &str,
    expected: &MessageClaims<'_>,
) -> Result<(), ErrorCode> {
    if auth.public_key != bound_key {
        return Err(ErrorCode::AuthPublicKeyMismatch);
    }
    if auth.claims != expected.to_claims() && auth.claims != expected.to_legacy_claims() {
        return Err(ErrorCode::AuthClaimsMismatch);
    }
    if auth.verifies() { Ok(()) } else { Err(ErrorCode::AuthSignatureInvalid) }
}

fn check_shape(auth: &AuthBlock) -> Result<&AuthBlock, ErrorCode> {
    if auth.scheme != SCHEME {
        return Err(ErrorCode::AuthSchemeInvalid);
    }
    if auth.public_key.is_empty() || auth.signature.is_empty() || auth.claims.is_empty() {
        return Err(ErrorCode::AuthPayloadInvalid);
    }
    Ok(auth)
}
