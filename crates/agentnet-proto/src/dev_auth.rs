//! The original's signatures, scheme `dev-ed25519-v1`: plain Ed25519 over the canonical JSON of a set of string
//! claims.
//!
//! To sign a message: fill [`MessageClaims`], then [`AuthBlock::sign`]. To accept one: [`check_message`], look the
//! sender's key up, [`check_message_signature`]. To accept a register: [`check_register`], then see to what needs
//! memory, the nonce ([`ErrorCode::AuthNonceReplayed`](crate::error::ErrorCode)) and the key bound to the account.

mod block;
mod check;
mod claims;
mod key;

pub use self::block::AuthBlock;
pub use self::check::{
    RegisterExpectation, RegisterProof, check_message, check_message_signature, check_register,
};
pub use self::claims::{Claims, MessageClaims, RegisterClaims, signing_bytes};
pub use self::key::{KeyError, SecretKey, verify};

/// The name of the scheme in an `auth` block.
pub const SCHEME: &str = "dev-ed25519-v1";
