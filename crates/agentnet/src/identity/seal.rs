//! Encryption under a password: Argon2id makes the key, XChaCha20-Poly1305 seals.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Memory that a guess at a password costs, KiB: the second recommendation of RFC 9106, section 4.
pub const KDF_MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory, of the same recommendation.
pub const KDF_ITERATIONS: u32 = 3;
/// Lanes, of the same recommendation.
pub const KDF_LANES: u32 = 4;

/// What a file may ask for, so that a changed one can't take the machine's memory or time: 1 GiB, 16 passes, 16 lanes.
const MAX_COST: (u32, u32, u32) = (1 << 20, 16, 16);
const KDF: &str = "argon2id";
const KDF_VERSION: u32 = 0x13;
const CIPHER: &str = "xchacha20poly1305";

/// How the key is made from the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kdf {
    name: String,
    version: u32,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
    /// 16 bytes, base64url.
    salt: String,
}

/// The sealed keys and how they were sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    kdf: Kdf,
    cipher: String,
    /// 24 bytes, base64url.
    nonce: String,
    /// Cipher text and tag, base64url.
    data: String,
}

/// Why a seal doesn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Another method than ours, or figures out of bounds.
    Damaged(&'static str),
    /// Wrong password, or something was changed.
    Refused,
}

impl Sealed {
    /// The head of a new seal, with fresh salt and nonce. Both are used once: every write makes new ones.
    pub(super) fn head() -> Self {
        Self::head_at(KDF_MEMORY_KIB, KDF_ITERATIONS, KDF_LANES)
    }

    fn head_at(memory_kib: u32, iterations: u32, lanes: u32) -> Self {
        Self {
            kdf: Kdf {
                name: KDF.to_owned(),
                version: KDF_VERSION,
                memory_kib,
                iterations,
                lanes,
                salt: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            },
            cipher: CIPHER.to_owned(),
            nonce: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()),
            data: String::new(),
        }
    }

    /// The same without what is sealed.
    pub(super) fn bare(&self) -> Self {
        Self { data: String::new(), ..self.clone() }
    }

    /// Seals `plain` with what the head says; `bound` is authenticated with it.
    pub(super) fn seal(
        &mut self,
        password: &SecretString,
        plain: &[u8],
        bound: &[u8],
    ) -> Result<(), OpenError> {
        let (cipher, nonce) = self.cipher(password)?;
        let sealed =
            cipher.encrypt(&nonce, Payload { msg: plain, aad: bound }).map_err(|_| OpenError::Refused)?;
        self.data = URL_SAFE_NO_PAD.encode(sealed);
        Ok(())
    }

    /// Opens the seal.
    pub(super) fn open(
        &self,
        password: &SecretString,
        bound: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let data = URL_SAFE_NO_PAD
            .decode(&self.data)
            .map_err(|_| OpenError::Damaged("its encrypted part isn't base64url"))?;
        let (cipher, nonce) = self.cipher(password)?;
        cipher
            .decrypt(&nonce, Payload { msg: &data, aad: bound })
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Refused)
    }

    fn cipher(&self, password: &SecretString) -> Result<(XChaCha20Poly1305, XNonce), OpenError> {
        let Kdf { name, version, memory_kib, iterations, lanes, salt } = &self.kdf;
        if name != KDF || *version != KDF_VERSION || self.cipher != CIPHER {
            return Err(OpenError::Damaged("it names an encryption that this program doesn't know"));
        }
        if *memory_kib > MAX_COST.0 || *iterations > MAX_COST.1 || *lanes > MAX_COST.2 {
            return Err(OpenError::Damaged("its password asks for more memory or time than allowed"));
        }
        let salt = decode::<16>(salt).ok_or(OpenError::Damaged("its salt can't be read"))?;
        let nonce = decode::<24>(&self.nonce).ok_or(OpenError::Damaged("its nonce can't be read"))?;
        let unusable = OpenError::Damaged("its password's parameters can't be used");
        let params = Params::new(*memory_kib, *iterations, *lanes, Some(32)).map_err(|_| unusable)?;
        let mut key = Zeroizing::new([0_u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.expose_secret().as_bytes(), &salt, &mut *key)
            .map_err(|_| unusable)?;
        Ok((XChaCha20Poly1305::new((&*key).into()), nonce.into()))
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_the_password_and_what_is_bound_only() {
        let password = SecretString::from("correct horse");
        let mut sealed = Sealed::head_at(64, 1, 1);
        sealed.seal(&password, b"plain", b"bound").unwrap();
        assert_eq!(&**sealed.open(&password, b"bound").unwrap(), b"plain");
        assert_eq!(sealed.open(&"battery staple".into(), b"bound"), Err(OpenError::Refused));
        assert_eq!(sealed.open(&password, b"other"), Err(OpenError::Refused));
        let mut other = sealed.clone();
        other.kdf.iterations = 2;
        assert_eq!(other.open(&password, b"bound"), Err(OpenError::Refused));
        let again = Sealed::head_at(64, 1, 1);
        assert_ne!((&again.nonce, &again.kdf.salt), (&sealed.nonce, &sealed.kdf.salt));
    }

    #[test]
    fn a_file_can_not_ask_for_the_whole_machine() {
        for (memory, iterations, lanes) in [
            (u32::MAX, 1, 1),
            (64, u32::MAX, 1),
            (64, 1, u32::MAX),
            (0, 1, 1),
            (64, 0, 1),
            (64, 1, 0),
            (8, 1, 16),
        ] {
            let sealed = Sealed { data: "AAAA".to_owned(), ..Sealed::head_at(memory, iterations, lanes) };
            assert!(
                matches!(sealed.open(&"x".into(), b""), Err(OpenError::Damaged(_))),
                "{memory} {iterations} {lanes}"
            );
        }
    }
}
