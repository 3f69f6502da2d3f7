//! How a node gets in: with a token at once, with its key (secure mode) in two steps.

use agentnet_proto::{AccountId, Security, rpc::EnrolmentToken, signature::SecretKey};

use super::Config;
use crate::{
    auth::open_key,
    connect::{
        Connection, KeyDoor, NatsSettings, connect, default_nats_url, enters_with_key, own_enrolment_token,
    },
    error::{Error, ErrorKind},
    registry::RegistryClient,
};

/// Where the network is.
pub(super) enum Nats {
    /// [`default_nats_url`].
    Default,
    Url(String),
    Settings(Box<NatsSettings>),
    Connected(Connection),
}

/// The first step.
pub(super) enum Entrance {
    /// The caller's connection, which stays theirs.
    Given(Connection),
    /// A connection for good.
    Token(Connection),
    /// A connection for registering.
    Key(Box<KeyDoor>, SecretKey),
}

impl Entrance {
    /// Connects as far as registering takes it.
    pub(super) async fn open(nats: Nats, config: &mut Config) -> Result<Self, Error> {
        let settings = match nats {
            Nats::Connected(connection) => return Ok(Self::Given(connection)),
            other => settings(other, &config.agent_id)?,
        };
        let told = config.told_security()?;
        if !enters_with_key(told, &settings, &|name| std::env::var(name).ok()) {
            return Ok(Self::Token(connect(&settings).await?));
        }
        if config.enrolment_token.is_none() {
            let token = own_enrolment_token(&settings, &|name| std::env::var(name).ok());
            config.enrolment_token = token.map(EnrolmentToken::new);
        }
        let Some(key) = open_key(config, Security::Secure).await? else {
            return Err(Error::new(ErrorKind::Auth, "secure mode takes an identity; name one"));
        };
        Ok(Self::Key(Box::new(KeyDoor::open(&settings, &key).await?), key))
    }

    /// The registry as far as it may be asked now.
    pub(super) fn registry(&self) -> RegistryClient {
        match self {
            Self::Given(connection) | Self::Token(connection) => {
                let registry = RegistryClient::over(connection);
                match connection.account() {
                    Some(account) => registry.as_account(account),
                    None => registry,
                }
            }
            Self::Key(door, _) => door.registry(),
        }
    }

    /// The key that the connection was made with.
    pub(super) fn key(&self) -> Option<&SecretKey> {
        match self {
            Self::Key(_, key) => Some(key),
            Self::Given(_) | Self::Token(_) => None,
        }
    }

    /// Whether the network's mode is the one this was an entrance for.
    pub(super) fn fits(&self, security: Security) -> Result<(), Error> {
        match (self, security) {
            (Self::Key(..), Security::Open | Security::Signed) => {
                let detail = format!(
                    "the network runs in {security} mode, and this agent came with its key; put the network's token into the \
                     NATS URL, or set AGENTNET_SECURITY={security}"
                );
                Err(Error::new(ErrorKind::Auth, detail))
            }
            _ => Ok(()),
        }
    }

    /// The connection for good, and whether it is the node's own.
    pub(super) async fn enter(self, account: &AccountId) -> Result<(Connection, bool), Error> {
        match self {
            Self::Given(connection) => Ok((connection, false)),
            Self::Token(connection) => Ok((connection, true)),
            Self::Key(door, _) => Ok((door.enter(account).await?, true)),
        }
    }

    /// Gives up.
    pub(super) async fn close(self) {
        match self {
            Self::Given(_) => {}
            Self::Token(connection) => {
                let _ = connection.close(std::time::Duration::from_secs(1)).await;
            }
            Self::Key(door, _) => door.close().await,
        }
    }
}

fn settings(nats: Nats, agent_id: &str) -> Result<NatsSettings, Error> {
    let name = format!("agentnet-{agent_id}");
    match nats {
        Nats::Url(url) => Ok(NatsSettings::from_url(&url)?.named(name)),
        Nats::Settings(settings) if settings.name != NatsSettings::DEFAULT_NAME => Ok(*settings),
        Nats::Settings(settings) => Ok(settings.named(name)),
        Nats::Default | Nats::Connected(_) => Ok(NatsSettings::from_url(&default_nats_url())?.named(name)),
    }
}
