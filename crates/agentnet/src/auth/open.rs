//! What a node has to find out before it can sign: the network's name and mode, and its own key.

use std::time::Duration;

use agentnet_proto::{Security, dev_auth::SecretKey, signature::Deployment};

use crate::{
    error::{Error, ErrorKind},
    identity::{Identity, IdentityStore, original::load_or_create, password_from_env},
    node::Config,
    registry::RegistryClient,
};

/// A shorter life of connections isn't believed: the node would do nothing but connect.
const SHORTEST_LIFETIME: Duration = Duration::from_millis(500);

/// The network's name and mode, as far as they are known.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) security: Security,
    /// `None` where the registry is older than signature v2.
    pub(crate) deployment: Option<Deployment>,
    /// How long a connection is let in for, at least (secure mode).
    pub(crate) lifetime: Option<Duration>,
}

impl Terms {
    /// Asks the registry, and holds the answer against what was configured: a network that is less strict or another
    /// one is an error.
    pub(crate) async fn learn(config: &Config, registry: &RegistryClient) -> Result<Self, Error> {
        let wanted = config.wanted_security()?;
        let answer = match registry.network().await {
            Ok(answer) => answer,
            // Older registries don't listen there; one that is down is noticed at registering.
            Err(error)
                if matches!(error.kind(), ErrorKind::RegistryUnavailable | ErrorKind::NotFound)
                    || error.code() == "unknown_method" =>
            {
                let can_go_on = match wanted {
                    Security::Open => true,
                    Security::Signed => config.dev_auth || config.deployment.is_some(),
                    Security::Secure => false,
                };
                return if can_go_on {
                    Ok(Self { security: wanted, deployment: config.deployment.clone(), lifetime: None })
                } else {
                    Err(error)
                };
            }
            Err(error) => return Err(error),
        };
        let deployment: Deployment = answer.deployment.parse().map_err(|e| {
            Error::new(ErrorKind::RegistryFailed, "the registry answered no network's name").source_of(e)
        })?;
        if let Some(expected) = &config.deployment
            && *expected != deployment
        {
            let detail = format!(
                "this is the network {deployment}, and AGENTNET_DEPLOYMENT expects {expected}; check both"
            );
            return Err(Error::new(ErrorKind::Auth, detail));
        }
        if strictness(answer.security) < strictness(wanted) {
            let detail = format!(
                "the network runs in {} mode, and this agent wants {wanted}; check AGENTNET_SECURITY and DEV_AUTH of both",
                answer.security
            );
            return Err(Error::new(ErrorKind::Auth, detail));
        }
        let lifetime = answer
            .connection_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|lifetime| *lifetime >= SHORTEST_LIFETIME);
        Ok(Self { security: answer.security, deployment: Some(deployment), lifetime })
    }
}

fn strictness(security: Security) -> u8 {
    match security {
        Security::Open => 0,
        Security::Signed => 1,
        Security::Secure => 2,
    }
}

/// The node's key: of the identity it was given, else, where the network wants signatures, of the identity that is named
/// after its username or agent_id. Made on first use, without questions.
pub(crate) async fn open_key(config: &Config, security: Security) -> Result<Option<SecretKey>, Error> {
    if let Some(identity) = &config.identity {
        return Ok(Some(identity.key().clone()));
    }
    let own_name = config.username.as_deref().unwrap_or(&config.agent_id);
    let name = match &config.identity_name {
        Some(name) => name.clone(),
        None if !security.wants_signatures() => return Ok(None),
        None if config.dev_auth => return load_or_create(&config.key_dir, own_name).map(Some),
        None => own_name.trim().to_owned(),
    };
    // Files, and for a password some tenths of a second of work.
    let open = move || -> Result<Identity, crate::IdentityError> {
        IdentityStore::from_env()?.open_or_create(&name, password_from_env().as_ref())
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(Ok(identity)) => Ok(Some(identity.key().clone())),
        Ok(Err(error)) => {
            let detail = format!("the agent's identity can't be used: {error}");
            Err(Error::new(ErrorKind::Auth, detail).source_of(error))
        }
        Err(_) => Err(Error::new(ErrorKind::Auth, "opening the agent's identity was interrupted")),
    }
}
