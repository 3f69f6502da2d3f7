//! What a secure network has of its own: the keys of its services, and the identity of the person who starts it.

use agentnet::{Identity, IdentityStore, connect::context::UserIdentity, proto::signature::SecretKey};
use agentnet_local::DataDir;
use agentnet_registry::callout::{NetworkSeeds, SeedError};
use secrecy::SecretString;

use crate::{command::environment, failure::Failure, network::person};

/// Keys and person of a secure network, made at the first start and found again.
#[derive(Clone)]
pub struct Secure {
    /// The keys of the services, and those of the auth callout.
    pub seeds: NetworkSeeds,
    /// What nats-server is told, public keys only.
    pub server_config: String,
    /// The gateway's public key.
    pub gateway: String,
    /// Where the person's identity is.
    pub who: UserIdentity,
    /// The person's public key, as operators are named.
    pub operator: String,
    /// Lets new keys in: those of this user's agents find it by themselves.
    pub enrolment_token: SecretString,
}

impl Secure {
    /// Finds or makes everything.
    ///
    /// # Errors
    /// `io`; `identity_*`; `keys` for files that hold something else.
    pub fn of(dir: &DataDir) -> Result<Self, Failure> {
        let seeds = seeds(|name, make| Ok(dir.secret_made_by(name, make)?))?;
        let unusable = |error: SeedError| {
            Failure::local(
                "keys",
                format!(
                    "the network's keys under {} can't be used: {error}",
                    dir.path().join("secrets").display()
                ),
                "restore the files, or remove them to have new ones made",
            )
        };
        let server_config = seeds.server_config().map_err(unusable)?;
        let gateway = seeds.gateway_key().map_err(unusable)?;
        let who = UserIdentity { dir: dir.identities_dir(), name: person(&environment) };
        let identity = identity(dir, &who.name)?;
        let operator = identity.public_key().to_string();
        let enrolment_token = dir.secret("enrolment-token")?;
        Ok(Self { seeds, server_config, gateway, who, operator, enrolment_token })
    }
}

/// The seed of the gateway's own key, in signed mode, where its other services have none.
///
/// # Errors
/// `io`.
pub fn gateway_seed(dir: &DataDir) -> Result<SecretString, Failure> {
    Ok(dir.secret_made_by("nats-gateway", || SecretString::from(SecretKey::generate().expose_nkey_seed()))?)
}

/// An identity that belongs to the network: the person's, or a demo agent's.
///
/// # Errors
/// `identity_*`.
pub fn identity(dir: &DataDir, name: &str) -> Result<Identity, Failure> {
    Ok(IdentityStore::new(dir.identities_dir()).open_or_create(name, None)?)
}

/// The seeds of a network, each found or made by `keep`.
///
/// # Errors
/// What `keep` fails with; `keys` without randomness.
pub fn seeds(
    keep: impl Fn(&str, &mut dyn FnMut() -> SecretString) -> Result<SecretString, Failure>,
) -> Result<NetworkSeeds, Failure> {
    let one = |name: &str| {
        let made = NetworkSeeds::generate(name)
            .map_err(|error| Failure::local("keys", format!("no key can be made: {error}"), "try again"))?;
        keep(name, &mut || made.clone())
    };
    let [registry, persister, gateway, system, issuer, xkey] = NetworkSeeds::NAMES.map(one);
    Ok(NetworkSeeds::from_parts([registry?, persister?, gateway?, system?, issuer?, xkey?]))
}
