//! Identifiers: ULIDs for accounts and sessions, UUIDs for messages and nonces.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ulid::Ulid;

use crate::clock::SharedClock;

/// Crockford's base32 digits in lower case, as ULIDs use them.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ULID_TIME_MAX: u64 = (1 << 48) - 1;

/// An id generator shared by the parts of a process.
pub type SharedIds = Arc<dyn IdGen>;

/// Makes identifiers out of a clock and a source of randomness.
pub trait IdGen: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch, for the time part of a ULID.
    fn unix_millis(&self) -> i64;

    /// 128 random bits.
    fn random(&self) -> u128;

    /// A new ULID.
    fn ulid(&self) -> Ulid {
        let millis = u64::try_from(self.unix_millis()).unwrap_or(0).min(ULID_TIME_MAX);
        Ulid::from_parts(millis, self.random())
    }

    /// A ULID as 26 lower-case characters.
    fn ulid_lower(&self) -> String {
        self.ulid().to_string().to_ascii_lowercase()
    }

    /// `acct_` and a lower-case ULID.
    fn account_id(&self) -> String {
        format!("acct_{}", self.ulid_lower())
    }

    /// `<server_id>_` and an upper-case ULID.
    fn session_tag(&self, server_id: &str) -> String {
        format!("{server_id}_{}", self.ulid())
    }

    /// A version 4 UUID as 32 lower-case hex digits.
    fn message_id(&self) -> String {
        uuid4_hex(self.random())
    }

    /// A value for one signature only; a version 4 UUID like [`Self::message_id`].
    fn nonce(&self) -> String {
        uuid4_hex(self.random())
    }

    /// `len` random lower-case base32 characters, to make a taken name unique.
    ///
    /// Random bits only: the time part of a ULID is the same for everyone who collides within a second.
    fn suffix(&self, len: usize) -> String {
        let mut suffix = String::with_capacity(len);
        let (mut bits, mut left) = (0, 0);
        for _ in 0..len {
            if left == 0 {
                (bits, left) = (self.random(), 25);
            }
            suffix.push(char::from(CROCKFORD[(bits & 31) as usize]));
            bits >>= 5;
            left -= 1;
        }
        suffix
    }
}

/// Sets the version and variant bits of RFC 9562.
fn uuid4_hex(bits: u128) -> String {
    let versioned = (bits & !(0xf << 76)) | (0x4 << 76);
    format!("{:032x}", (versioned & !(0x3 << 62)) | (0x2 << 62))
}

/// Ids from the operating system's randomness.
#[derive(Debug, Clone)]
pub struct SystemIds {
    clock: SharedClock,
}

impl SystemIds {
    /// A generator whose ULIDs carry the time of `clock`.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock }
    }
}

impl IdGen for SystemIds {
    fn unix_millis(&self) -> i64 {
        self.clock.now().unix_millis()
    }

    fn random(&self) -> u128 {
        rand::random()
    }
}

/// Ids that are the same in every run: for tests. Never for nonces or ids that meet other people's.
#[derive(Debug)]
pub struct SeededIds {
    rng: Mutex<Xoshiro256PlusPlus>,
    clock: SharedClock,
}

impl SeededIds {
    /// A generator that depends on `seed` and `clock` alone.
    #[must_use]
    pub fn new(seed: u64, clock: SharedClock) -> Self {
        Self { rng: Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)), clock }
    }
}

impl IdGen for SeededIds {
    fn unix_millis(&self) -> i64 {
        self.clock.now().unix_millis()
    }

    fn random(&self) -> u128 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::timestamp::Timestamp;

    fn seeded(seed: u64, at: &str) -> SeededIds {
        SeededIds::new(seed, ManualClock::new(Timestamp::parse(at).unwrap()).shared())
    }

    fn is_base32(text: &str) -> bool {
        text.bytes().all(|byte| CROCKFORD.contains(&byte))
    }

    #[test]
    fn shapes_match_the_original() {
        let ids = SystemIds::new(SystemClock::shared());
        let account = ids.account_id();
        let ulid = account.strip_prefix("acct_").unwrap();
        assert!(ulid.len() == 26 && is_base32(ulid), "{account}");
        let tag = ids.session_tag("registry");
        let ulid = tag.strip_prefix("registry_").unwrap();
        assert!(ulid.len() == 26 && is_base32(&ulid.to_ascii_lowercase()), "{tag}");
        assert_eq!(ulid, ulid.to_ascii_uppercase());
        for id in [ids.message_id(), ids.nonce()] {
            assert!(id.len() == 32 && id.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{id}");
            assert_eq!(&id[12..13], "4");
            assert!("89ab".contains(&id[16..17]), "{id}");
        }
    }

    #[test]
    fn uuid_bits_are_forced_and_the_rest_kept() {
        assert_eq!(uuid4_hex(0), "00000000000040008000000000000000");
        assert_eq!(uuid4_hex(u128::MAX), "ffffffffffff4fffbfffffffffffffff");
    }

    #[test]
    fn a_ulid_carries_the_time_of_the_clock() {
        let ids = seeded(1, "2026-02-21T08:00:00.123Z");
        assert_eq!(ids.ulid().timestamp_ms(), 1_771_660_800_123);
        assert_eq!(seeded(1, "0001-01-01").ulid().timestamp_ms(), 0);
        assert_eq!(seeded(1, "9999-12-31").ulid().timestamp_ms(), 253_402_214_400_000);
    }

    #[test]
    fn seeded_ids_repeat() {
        let (a, b) = (seeded(7, "2026-02-21"), seeded(7, "2026-02-21"));
        assert_eq!((a.account_id(), a.suffix(6)), (b.account_id(), b.suffix(6)));
        assert_ne!(a.message_id(), a.message_id());
        assert_ne!(seeded(8, "2026-02-21").message_id(), seeded(7, "2026-02-21").message_id());
    }

    #[test]
    fn suffixes_differ_at_a_standing_clock() {
        let ids = seeded(3, "2026-02-21");
        let suffixes: HashSet<String> = (0..1000).map(|_| ids.suffix(6)).collect();
        assert_eq!(suffixes.len(), 1000);
        assert!(suffixes.iter().all(|s| s.len() == 6 && is_base32(s)));
        assert_eq!(ids.suffix(0), "");
        assert_eq!(ids.suffix(77).len(), 77);
    }
}
