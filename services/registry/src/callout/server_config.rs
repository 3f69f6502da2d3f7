//! What nats-server has to be told in secure mode: one text, for `agentnet up`, compose, tests and servers of others.

use nkeys::{KeyPair, XKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::config::NATS_ACCOUNT;
use super::{Issuer, IssuerError, Role, SealError, Sealer, Service};

/// Seconds that the server waits for the registry's answer. It answers within 1.5 s even when Postgres doesn't. After 2 s
/// the server sends its first PING, which clients of async-nats take for being let in.
const AUTH_TIMEOUT: f32 = 1.9;

/// The keys of one network, made once and kept.
#[derive(Debug, Clone)]
pub struct NetworkSeeds {
    /// The registry's nkey, `SU...`.
    pub registry: SecretString,
    /// The persister's nkey, `SU...`.
    pub persister: SecretString,
    /// The gateway's nkey, `SU...`. It stands in no configuration of the server: the registry lets it in.
    pub gateway: SecretString,
    /// The nkey of the user of the system account who ends connections, `SU...`.
    pub system: SecretString,
    /// The account key that signs who may connect, `SA...`.
    pub issuer: SecretString,
    /// The key that the server encrypts its requests to, `SX...`.
    pub xkey: SecretString,
}

/// One of the seeds can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A service's seed.
    #[error("the {0} seed is no seed of a NATS user (`SU...`)")]
    User(&'static str),
    /// The issuer's seed.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The xkey's seed.
    #[error(transparent)]
    Xkey(#[from] SealError),
}

impl NetworkSeeds {
    /// The names of the seeds, in the order of [`Self::from_parts`]: file names where they are kept.
    pub const NAMES: [&str; 6] =
        ["nats-registry", "nats-persister", "nats-gateway", "nats-system", "nats-issuer", "nats-xkey"];

    /// A new seed for the name.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(name: &str) -> Result<SecretString, nkeys::error::Error> {
        match name {
            "nats-issuer" => KeyPair::new_account().seed(),
            "nats-xkey" => XKey::new().seed(),
            _ => KeyPair::new_user().seed(),
        }
        .map(SecretString::from)
    }

    /// The seeds in the order of [`Self::NAMES`].
    pub fn from_parts([registry, persister, gateway, system, issuer, xkey]: [SecretString; 6]) -> Self {
        Self { registry, persister, gateway, system, issuer, xkey }
    }

    /// The gateway's public key, `U...`, for `AGENTNET_GATEWAY_KEYS` of the registry.
    ///
    /// # Errors
    /// [`SeedError::User`].
    pub fn gateway_key(&self) -> Result<String, SeedError> {
        let key = KeyPair::from_seed(self.gateway.expose_secret()).map(|key| key.public_key());
        key.ok().filter(|nkey| nkey.starts_with('U')).ok_or(SeedError::User("gateway's"))
    }

    /// The part of nats-server's configuration that makes it ask the registry, with the services' users in it: accounts,
    /// system account and authorization. It holds no secret: public keys only.
    ///
    /// # Errors
    /// A seed that can't be used.
    pub fn server_config(&self) -> Result<String, SeedError> {
        let user = |name: &'static str, seed: &SecretString, service| {
            let key = KeyPair::from_seed(seed.expose_secret()).map_err(|_| SeedError::User(name))?;
            let nkey = key.public_key();
            // Only accounts can be refused permissions.
            let permissions = Role::Service(service).permissions().map_err(|_| SeedError::User(name))?;
            let entry = format!("{{ nkey: {nkey}, permissions: {} }}", permissions.to_config());
            if nkey.starts_with('U') { Ok((nkey, entry)) } else { Err(SeedError::User(name)) }
        };
        let (registry, registry_user) = user("registry's", &self.registry, Service::Registry)?;
        let (persister, persister_user) = user("persister's", &self.persister, Service::Persister)?;
        let (system, system_user) = user("system user's", &self.system, Service::System)?;
        let issuer = Issuer::from_seed(&self.issuer, NATS_ACCOUNT)?.public_key();
        let xkey = Sealer::from_seed(&self.xkey)?.public_key();
        Ok(format!(
            "accounts {{\n  \
               {NATS_ACCOUNT} {{\n    jetstream: enabled\n    users: [\n      {registry_user},\n      \
               {persister_user}\n    ]\n  }}\n  \
               SYS {{ users: [ {system_user} ] }}\n}}\n\
             system_account: SYS\n\
             authorization {{\n  timeout: {AUTH_TIMEOUT}\n  auth_callout {{\n    issuer: {issuer}\n    \
               account: {NATS_ACCOUNT}\n    auth_users: [ {registry}, {persister}, {system} ]\n    xkey: {xkey}\n  }}\n}}\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_public_keys_only() {
        let seeds =
            NetworkSeeds::from_parts(NetworkSeeds::NAMES.map(|name| NetworkSeeds::generate(name).unwrap()));
        let text = seeds.server_config().unwrap();
        for seed in
            [&seeds.registry, &seeds.persister, &seeds.gateway, &seeds.system, &seeds.issuer, &seeds.xkey]
        {
            assert!(!text.contains(seed.expose_secret()));
        }
        let wrong = NetworkSeeds { registry: seeds.issuer.clone(), ..seeds.clone() };
        assert!(matches!(wrong.server_config(), Err(SeedError::User("registry's"))));
        let wrong = NetworkSeeds { issuer: seeds.registry.clone(), ..seeds };
        assert!(matches!(wrong.server_config(), Err(SeedError::Issuer(_))));
    }
}
