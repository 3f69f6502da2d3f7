//! NATS' auth callout: what the server asks about a connection, and what it is told.
//!
//! Pure functions; whoever answers subscribes [`SUBJECT`] and does, for each request:
//!
//! 1. [`Sealer::open`] decrypts the request,
//! 2. [`Request::decode`] reads it, [`Request::prove`] sees that the caller holds the key it presents,
//! 3. the key's account and [`Role`] are looked up, [`Role::permissions`] says what it may do,
//! 4. [`Issuer::admit`] or [`Issuer::refuse`] writes the answer, [`Sealer::seal`] encrypts it.
//!
//! The server sends nonces only when its configuration names an nkey user (the answering service is one), hence the
//! refusal of an empty nonce: a signature over nothing could be replayed for ever. That a request comes from the server
//! is vouched for by the subject, to which [`Role`] lets nobody publish, and by the seal.

mod jwt;
mod permissions;
mod request;
mod response;
mod seal;

pub use self::jwt::JwtError;
pub use self::permissions::{Permissions, Role, Service, inbox_prefix};
pub use self::request::{ProofError, Request, RequestError};
pub use self::response::{Admission, Issuer, IssuerError};
pub use self::seal::{SealError, Sealer, XKEY_HEADER};

/// Where the server asks.
pub const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
