//! JSON as the original's Python reads and writes it, byte for byte: its signatures and its counts of bytes
//! depend on that.
//!
//! serde_json can't stand in: it has no lone surrogates, no `NaN`, no integers beyond 64 bits and another
//! spelling of floats.

mod escape;
mod float;
mod parse;
mod value;
mod write;

use sha2::{Digest, Sha256};

pub(crate) use self::escape::write_string;
pub use self::parse::{MAX_DEPTH, MAX_INT_DIGITS, PyJsonError, PyJsonErrorKind, parse};
pub use self::value::{PyStr, PyValue};

/// `json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"))`: what `dev-ed25519-v1` hashes and signs.
///
/// # Errors
/// When `raw` is not JSON to Python, or passes [`MAX_DEPTH`] or [`MAX_INT_DIGITS`].
pub fn canonical_json(raw: &str) -> Result<String, PyJsonError> {
    Ok(parse(raw)?.canonical())
}

/// The length in bytes of `json.dumps(json.loads(raw))`: what the original counts for a thread.
///
/// # Errors
/// As [`canonical_json`].
pub fn python_len(raw: &str) -> Result<usize, PyJsonError> {
    Ok(parse(raw)?.python_len())
}

/// Lower-case hex SHA-256 of [`canonical_json`]: the claim `payload_sha256`.
///
/// # Errors
/// As [`canonical_json`].
pub fn payload_sha256(raw: &str) -> Result<String, PyJsonError> {
    let digest = Sha256::digest(canonical_json(raw)?);
    let mut hex = String::with_capacity(64);
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    Ok(hex)
}
