//! Who an agent is: one Ed25519 key, in a file of its own.
//!
//! ```no_run
//! use agentnet::{Identity, IdentityError};
//!
//! # fn run() -> Result<(), IdentityError> {
//! // Made on first use, read afterwards. In a program that is busy, call it in `spawn_blocking`: a password costs
//! // some tenths of a second of work.
//! let me = Identity::open_or_create("weather_bot")?;
//! println!("{} {}", me.name(), me.public_key());
//! # Ok(())
//! # }
//! ```
//!
//! Files lie in the directory that [`DIR_VARIABLE`] names, or in the user's data directory, one for each name, readable
//! by their owner only, and encrypted when made with a password (`docs/IDENTITY.md` has the format). The original's
//! key files are read where no identity of the name exists. [`IdentityStore`] does the rest: list, export, import,
//! rotate, delete.

mod document;
mod error;
mod name;
pub(crate) mod original;
mod private_file;
mod seal;
mod store;
mod text;

use agentnet_proto::{
    Timestamp,
    signature::{PublicKey, SecretKey},
    username::GUEST_PREFIX,
};
use secrecy::SecretString;

pub use error::IdentityError;
pub use seal::{KDF_ITERATIONS, KDF_LANES, KDF_MEMORY_KIB};
pub use store::{Found, IdentityStore, Listed};
pub use text::ExportFormat;

/// The variable that names another directory for identity files.
pub const DIR_VARIABLE: &str = "AGENTNET_IDENTITY_DIR";
/// The variable that holds the password of identity files, for programs that nobody sits in front of. Whoever may read
/// the process's environment reads it too.
pub const PASSWORD_VARIABLE: &str = "AGENTNET_IDENTITY_PASSWORD";
/// Most keys that wait in a file for the network to hear that they were replaced.
pub const MAX_RETIRED: usize = 8;

/// Where an identity was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of the identity directory.
    Store,
    /// A key file of the original, which is only read.
    Original,
    /// Nowhere: a guest's, which ends with its process.
    Guest,
}

/// An agent's name and key. `Debug` shows public keys only; secret ones are wiped when dropped.
#[derive(Debug, Clone)]
pub struct Identity {
    name: String,
    key: SecretKey,
    retired: Vec<RetiredKey>,
    created_at: Option<Timestamp>,
    origin: Origin,
}

/// A key that was replaced. It is kept because the network takes a new key only when the old one signs for it.
#[derive(Debug, Clone)]
pub struct RetiredKey {
    /// The key.
    pub key: SecretKey,
    /// When it was replaced.
    pub retired_at: Timestamp,
}

impl Identity {
    /// Reads the identity of that name, or makes it: in the directory and under the password that the environment
    /// names ([`DIR_VARIABLE`], [`PASSWORD_VARIABLE`]). Never asks anything.
    ///
    /// # Errors
    /// As [`IdentityStore::open_or_create`].
    pub fn open_or_create(name: &str) -> Result<Self, IdentityError> {
        IdentityStore::from_env()?.open_or_create(name, password_from_env().as_ref())
    }

    /// Reads the identity of that name, as [`Self::open_or_create`] finds it.
    ///
    /// # Errors
    /// As [`IdentityStore::load`].
    pub fn load(name: &str) -> Result<Self, IdentityError> {
        IdentityStore::from_env()?.load(name, password_from_env().as_ref())
    }

    /// An identity of a key that its holder keeps, or that ends with the process. No file is read or
    /// written.
    pub fn of_key(name: impl Into<String>, key: SecretKey) -> Self {
        Self { name: name.into(), key, retired: Vec::new(), created_at: None, origin: Origin::Store }
    }

    /// A guest: a new key under a new name that begins with `guest`, kept in memory only. No file is written, and once
    /// it is dropped nobody speaks for the guest's account again.
    pub fn guest() -> Self {
        let key = SecretKey::generate();
        // The name is as unlikely to be taken as the key is: ten digits of base 32.
        let tail: String = key.verifying().to_nkey().to_ascii_lowercase().chars().skip(1).take(10).collect();
        let name = format!("{GUEST_PREFIX}_{tail}");
        Self { name, key, retired: Vec::new(), created_at: None, origin: Origin::Guest }
    }

    /// Whether it is a [guest](Self::guest).
    pub fn is_guest(&self) -> bool {
        self.origin == Origin::Guest
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that signs, and the NATS user key.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// What others know it by.
    pub fn public_key(&self) -> PublicKey {
        self.key.verifying()
    }

    /// Keys that were replaced, the last one first: the network may still know one of them.
    pub fn retired(&self) -> &[RetiredKey] {
        &self.retired
    }

    /// The identity with each of the keys that were replaced, the last one first: what the network may still know it by.
    pub fn predecessors(&self) -> impl Iterator<Item = Self> + '_ {
        self.retired.iter().map(|old| Self { key: old.key.clone(), ..self.clone() })
    }

    /// When it was made; key files of the original don't say.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// Where it was read from.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

/// The password in the environment, if there is one.
pub fn password_from_env() -> Option<SecretString> {
    std::env::var(PASSWORD_VARIABLE).ok().filter(|text| !text.is_empty()).map(SecretString::from)
}
