//! Encryption of requests and answers between the server and us, by X25519 keys that NATS calls xkeys.

use std::fmt;

use nkeys::XKey;
use secrecy::{ExposeSecret as _, SecretString};

/// The header in which the server names its key of the moment.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// Why a request can't be decrypted or an answer encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Our seed is no xkey.
    #[error("the seed of the callout's xkey must be a NATS curve seed (`SX...`)")]
    Seed,
    /// The server didn't encrypt.
    #[error("the request isn't encrypted: the server's auth_callout needs our xkey")]
    NotEncrypted,
    /// What the header names is no key.
    #[error("the header {XKEY_HEADER} holds no xkey")]
    ServerKey,
    /// Wrong key, or changed on the way.
    #[error("the request can't be decrypted, or the answer not encrypted")]
    Refused,
}

/// Our xkey. `Debug` shows the public half.
pub struct Sealer(XKey);

impl Sealer {
    /// From the seed, `SX...`.
    ///
    /// # Errors
    /// [`SealError::Seed`].
    pub fn from_seed(seed: &SecretString) -> Result<Self, SealError> {
        XKey::from_seed(seed.expose_secret()).map(Self).map_err(|_| SealError::Seed)
    }

    /// The public key, for `auth_callout.xkey` of the server's configuration.
    pub fn public_key(&self) -> String {
        self.0.public_key()
    }

    /// Decrypts a request. `server_key` is the header [`XKEY_HEADER`]; one without is refused.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, payload: &[u8], server_key: Option<&str>) -> Result<Vec<u8>, SealError> {
        let server = parse(server_key.ok_or(SealError::NotEncrypted)?)?;
        self.0.open(payload, &server).map_err(|_| SealError::Refused)
    }

    /// Encrypts an answer for the server that asked.
    ///
    /// # Errors
    /// [`SealError::ServerKey`].
    pub fn seal(&self, answer: &str, server_key: &str) -> Result<Vec<u8>, SealError> {
        self.0.seal(answer.as_bytes(), &parse(server_key)?).map_err(|_| SealError::Refused)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.public_key())
    }
}

fn parse(key: &str) -> Result<XKey, SealError> {
    XKey::from_public_key(key).map_err(|_| SealError::ServerKey)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_panics(payload in proptest::collection::vec(any::<u8>(), 0..100), key in "[A-Z2-7]{0,60}", any in ".{0,60}") {
            let sealer = Sealer::from_seed(&XKey::new().seed().unwrap().into()).unwrap();
            let server = XKey::new().public_key();
            let versioned = [b"xkv1", payload.as_slice()].concat();
            for key in [&key, &any, &server] {
                prop_assert!(sealer.open(&payload, Some(key)).is_err());
                prop_assert!(sealer.open(&versioned, Some(key)).is_err());
            }
            prop_assert!(sealer.seal("x", &key).is_err());
            prop_assert!(Sealer::from_seed(&any.into()).is_err());
        }
    }

    #[test]
    fn only_the_two_ends_read_it() {
        let server = XKey::new();
        let seed = SecretString::from(XKey::new().seed().unwrap());
        let sealer = Sealer::from_seed(&seed).unwrap();
        assert!(!format!("{sealer:?}").contains(seed.expose_secret()));
        let ours = XKey::from_public_key(&sealer.public_key()).unwrap();
        let sealed = server.seal(b"request", &ours).unwrap();
        assert_eq!(sealer.open(&sealed, Some(&server.public_key())).unwrap(), b"request");
        assert_eq!(sealer.open(&sealed, None), Err(SealError::NotEncrypted));
        assert_eq!(sealer.open(b"request", Some(&server.public_key())), Err(SealError::Refused));
        assert_eq!(sealer.open(&sealed, Some(&XKey::new().public_key())), Err(SealError::Refused));
        for bad in ["", "X", &nkeys::KeyPair::new_user().public_key()] {
            assert_eq!(sealer.open(&sealed, Some(bad)), Err(SealError::ServerKey), "{bad}");
        }
        let answer = sealer.seal("answer", &server.public_key()).unwrap();
        assert_eq!(server.open(&answer, &ours).unwrap(), b"answer");
        let user = SecretString::from(nkeys::KeyPair::new_user().seed().unwrap());
        assert_eq!(Sealer::from_seed(&user).unwrap_err(), SealError::Seed);
    }
}
