//! What the auth callout is told.

use std::num::NonZeroU32;
use std::time::Duration;

use agentnet_service::config::{ConfigError, Env, user_seed};
use secrecy::SecretString;

use super::{Issuer, Sealer};

/// The account of nats-server's configuration that admitted users belong to.
pub const NATS_ACCOUNT: &str = "AGENTNET";
/// `AGENTNET_CONNECTION_SECONDS` unless set.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The auth callout's section of the configuration.
#[derive(Clone, Debug)]
pub struct CalloutConfig {
    /// `AGENTNET_CALLOUT_SEED` or its `_FILE`, required: seed of the account key that signs who may connect.
    pub issuer_seed: SecretString,
    /// `AGENTNET_CALLOUT_XKEY_SEED` or its `_FILE`, required: the seed of the key that requests are encrypted to.
    pub xkey_seed: SecretString,
    /// `AGENTNET_SYSTEM_NKEY_SEED` or its `_FILE`: user of the server's system account, who ends connections of revoked
    /// keys and suspended accounts. Without it they last until their permission expires.
    pub system_seed: Option<SecretString>,
    /// `AGENTNET_CONNECTION_SECONDS`: how long a connection is let in for at most. 1 h.
    pub lifetime: Duration,
    /// `AGENTNET_UNKNOWN_KEYS_PER_ADDRESS`: how many connections of keys that the network doesn't know one address may
    /// open at once at one replica; a fortieth of it comes back each second. 2,000.
    pub unknown_per_address: NonZeroU32,
}

/// `AGENTNET_UNKNOWN_KEYS_PER_ADDRESS` unless set: all agents of a large machine may come at once.
pub const DEFAULT_UNKNOWN_PER_ADDRESS: u32 = 2_000;

impl CalloutConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// The first variable that is missing or can't be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let required = |name: &str, file: &str, expected: &str| {
            env.secret_or_file(name, file)?.ok_or_else(|| ConfigError::Missing {
                variable: name.to_owned(),
                expected: format!("{expected}, or {file}; `agentnet nats-config` makes one"),
            })
        };
        let unusable = |name: &str, problem: String, expected: &str| ConfigError::InvalidSecret {
            variable: name.to_owned(),
            problem,
            expected: expected.to_owned(),
        };
        let (issuer, xkey) = ("AGENTNET_CALLOUT_SEED", "AGENTNET_CALLOUT_XKEY_SEED");
        let (account_seed, curve_seed) =
            ("the seed of a NATS account (SA...)", "the seed of an xkey (SX...)");
        let issuer_seed = required(issuer, "AGENTNET_CALLOUT_SEED_FILE", account_seed)?;
        Issuer::from_seed(&issuer_seed, NATS_ACCOUNT)
            .map_err(|error| unusable(issuer, error.to_string(), account_seed))?;
        let xkey_seed = required(xkey, "AGENTNET_CALLOUT_XKEY_SEED_FILE", curve_seed)?;
        Sealer::from_seed(&xkey_seed).map_err(|error| unusable(xkey, error.to_string(), curve_seed))?;
        let system = "AGENTNET_SYSTEM_NKEY_SEED";
        let system_seed = env
            .secret_or_file(system, "AGENTNET_SYSTEM_NKEY_SEED_FILE")?
            .map(|seed| user_seed(system, seed))
            .transpose()?;
        let range = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
        let lifetime = env.seconds("AGENTNET_CONNECTION_SECONDS", DEFAULT_LIFETIME, range)?;
        let unknown = env.integer(
            "AGENTNET_UNKNOWN_KEYS_PER_ADDRESS",
            DEFAULT_UNKNOWN_PER_ADDRESS.into(),
            1..=1_000_000,
        )?;
        let unknown_per_address =
            u32::try_from(unknown).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        Ok(Self { issuer_seed, xkey_seed, system_seed, lifetime, unknown_per_address })
    }
}

#[cfg(test)]
mod tests {
    use nkeys::{KeyPair, XKey};

    use super::*;

    #[test]
    fn seeds_are_checked_and_never_shown() {
        let (account, xkey) = (KeyPair::new_account().seed().unwrap(), XKey::new().seed().unwrap());
        let read = |pairs: &[(&str, &str)]| CalloutConfig::from_env(&Env::from_pairs(pairs.iter().copied()));
        let both = [("AGENTNET_CALLOUT_SEED", account.as_str()), ("AGENTNET_CALLOUT_XKEY_SEED", &xkey)];
        let config = read(&both).unwrap();
        assert_eq!((config.lifetime, config.system_seed.is_none()), (DEFAULT_LIFETIME, true));
        assert!(!format!("{config:?}").contains(&account) && !format!("{config:?}").contains(&xkey));
        assert_eq!(read(&both[..1]).unwrap_err().variable(), "AGENTNET_CALLOUT_XKEY_SEED");
        assert_eq!(read(&both[1..]).unwrap_err().variable(), "AGENTNET_CALLOUT_SEED");
        let swapped = [("AGENTNET_CALLOUT_SEED", xkey.as_str()), ("AGENTNET_CALLOUT_XKEY_SEED", &xkey)];
        let error = read(&swapped).unwrap_err();
        assert!(error.variable() == "AGENTNET_CALLOUT_SEED" && !error.to_string().contains(&xkey));
        let system = [both[0], both[1], ("AGENTNET_SYSTEM_NKEY_SEED", account.as_str())];
        assert_eq!(read(&system).unwrap_err().variable(), "AGENTNET_SYSTEM_NKEY_SEED");
    }
}
