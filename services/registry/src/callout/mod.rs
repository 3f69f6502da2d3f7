//! NATS' auth callout: what the server asks about a connection, and what it is told.
//!
//! `serve` subscribes [`SUBJECT`] on every replica and does, for each request:
//!
//! 1. [`Sealer::open`] decrypts the request,
//! 2. [`Request::decode`] reads it, [`Request::prove`] sees that the caller holds the key it presents,
//! 3. `desk` looks the key's account and [`Role`] up and notes the connection, [`Role::permissions`] says what it may do,
//! 4. [`Issuer::admit`] or [`Issuer::refuse`] writes the answer, [`Sealer::seal`] encrypts it.
//!
//! The server sends nonces only when its configuration names an nkey user (the answering service is one), hence the
//! refusal of an empty nonce: a signature over nothing could be replayed for ever. That a request comes from the server
//! is vouched for by the subject, to which [`Role`] lets nobody publish, and by the seal.

mod config;
mod desk;
mod jwt;
mod kick;
mod permissions;
mod request;
mod response;
mod seal;
mod serve;
mod server_config;
mod strangers;

pub use self::config::{CalloutConfig, DEFAULT_LIFETIME, NATS_ACCOUNT};
pub use self::jwt::JwtError;
pub(crate) use self::kick::start as start_kicks;
pub use self::permissions::{Permissions, Role, Service};
pub use self::request::{ProofError, Request, RequestError};
pub use self::response::{Admission, Issuer, IssuerError};
pub use self::seal::{SealError, Sealer, XKEY_HEADER};
pub use self::serve::CalloutError;
pub(crate) use self::serve::{shortest, start};
pub use self::server_config::{NetworkSeeds, SeedError};

pub use agentnet_proto::subject::AUTH_CALLOUT as SUBJECT;
