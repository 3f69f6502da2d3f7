//! NATS' text form of a user's Ed25519 key: base32 of prefix, key and CRC-16.
//!
//! Written here because NATS' own crate brings a second Ed25519 implementation and its randomness along; a test of the
//! registry compares the two.

use crc::{CRC_16_XMODEM, Crc};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
/// `U`, in the upper five bits.
const USER: u8 = 20 << 3;
/// `S`, in the upper five bits of a seed's first byte.
const SEED: u8 = 18 << 3;
/// 1 + 32 + 2 bytes.
const PUBLIC_TEXT_LEN: usize = 56;
/// 2 + 32 + 2 bytes.
const SEED_TEXT_LEN: usize = 58;

/// The text is not a NATS user key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a NATS user key (`U...`, 56 characters; its seed `SU...`, 58)")]
pub struct NkeyError;

pub(super) fn encode_user(key: &[u8; 32]) -> String {
    encode(&[USER], key)
}

pub(super) fn encode_user_seed(seed: &[u8; 32]) -> String {
    // The second prefix says whose seed it is; it starts within the first byte.
    encode(&[SEED | (USER >> 5), (USER & 0b1_1111) << 3], seed)
}

pub(super) fn decode_user(text: &str) -> Result<[u8; 32], NkeyError> {
    let raw = decode::<35>(text, PUBLIC_TEXT_LEN)?;
    match raw.split_first_chunk() {
        Some(([USER], rest)) => rest.first_chunk().copied().ok_or(NkeyError),
        _ => Err(NkeyError),
    }
}

pub(super) fn decode_user_seed(text: &str) -> Result<Zeroizing<[u8; 32]>, NkeyError> {
    let raw = decode::<36>(text, SEED_TEXT_LEN)?;
    let prefix = [SEED | (USER >> 5), (USER & 0b1_1111) << 3];
    match raw.split_first_chunk() {
        Some((found, rest)) if *found == prefix => {
            rest.first_chunk().copied().map(Zeroizing::new).ok_or(NkeyError)
        }
        _ => Err(NkeyError),
    }
}

fn encode(prefix: &[u8], key: &[u8; 32]) -> String {
    let mut raw = Zeroizing::new(Vec::with_capacity(36));
    raw.extend_from_slice(prefix);
    raw.extend_from_slice(key);
    let sum = CRC.checksum(&raw);
    raw.extend_from_slice(&sum.to_le_bytes());
    BASE32_NOPAD.encode(&raw)
}

/// The bytes with their check sum, which is right.
fn decode<const N: usize>(text: &str, text_len: usize) -> Result<Zeroizing<[u8; N]>, NkeyError> {
    let mut raw = Zeroizing::new([0; N]);
    if text.len() != text_len || BASE32_NOPAD.decode_len(text_len) != Ok(N) {
        return Err(NkeyError);
    }
    BASE32_NOPAD.decode_mut(text.as_bytes(), &mut *raw).map_err(|_| NkeyError)?;
    let (body, sum) = raw.split_last_chunk().ok_or(NkeyError)?;
    if CRC.checksum(body).to_le_bytes() == *sum { Ok(raw) } else { Err(NkeyError) }
}
