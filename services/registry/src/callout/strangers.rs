//! How fast keys that the network doesn't know may come from one address: whoever tries keys and tokens keeps only the
//! agents of the same address waiting.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota};

/// Of the burst so much comes back each second.
const PER_SECOND: u32 = 40;
/// Addresses remembered before those that have been quiet are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// Counts them.
#[derive(Debug)]
pub(super) struct Strangers(DefaultKeyedRateLimiter<String>);

impl Strangers {
    pub(super) fn new(burst: NonZeroU32) -> Self {
        let per_second = NonZeroU32::new(burst.get() / PER_SECOND).unwrap_or(NonZeroU32::MIN);
        Self(DefaultKeyedRateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)))
    }

    /// Whether one more from this address may come in.
    pub(super) fn admit(&self, address: &str) -> bool {
        if self.0.len() > MAX_ADDRESSES {
            self.0.retain_recent();
        }
        self.0.check_key(&address.to_owned()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_uses_up_its_own_share_only() {
        let strangers = Strangers::new(NonZeroU32::new(3).unwrap_or(NonZeroU32::MIN));
        let admitted = (0..10).filter(|_| strangers.admit("10.0.0.1")).count();
        assert_eq!(admitted, 3);
        assert!(strangers.admit("10.0.0.2"));
    }
}
