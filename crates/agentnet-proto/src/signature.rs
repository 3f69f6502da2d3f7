//! Signature v2: Ed25519 over the exact bytes of a body, bound to what it is for and to one network.
//!
//! It travels beside the body, in the NATS header [`HEADER`]: `v2 <public key> <signature>`, so that whoever checks it
//! needs no canonical form of anything. What is signed is laid out by [`signing_bytes`]; `docs/PROTOCOL.md` tells the
//! same in prose.
//!
//! To sign: [`SignatureHeader::sign`], and print it. To accept: parse the header, see whether its
//! [`key`](SignatureHeader::key) is the one that speaks for the account, [`SignatureHeader::verify`]. Verification says
//! who signed what and for which purpose; whether the body is addressed to the one who reads it, and whether it is
//! fresh, is for the reader to see.
//!
//! Keys and signatures are base64url without padding, the form in which accounts' keys have always been stored and
//! answered. The same key is the agent's NATS user key, whose text form is [`PublicKey::to_nkey`].

mod header;
mod nkey;
mod nonce;
mod proof;
mod public_key;
mod purpose;

pub use self::header::{SignatureError, SignatureHeader};
pub use self::nkey::NkeyError;
pub use self::nonce::{NONCE_HEADER, Nonce, NonceError};
pub use self::proof::{MessageProof, check_header, read_header};
pub use self::public_key::PublicKey;
pub use self::purpose::{Deployment, DeploymentError, Purpose, signing_bytes};
pub use crate::dev_auth::{KeyError, SecretKey};

/// The NATS header that carries the signature.
pub const HEADER: &str = "Agentnet-Signature";
/// The version token in the header.
pub const VERSION: &str = "v2";
