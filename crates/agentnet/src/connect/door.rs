//! Getting in with a key (secure mode): in two steps, because permissions and reply subjects name the account, which a
//! client may not know yet.

use std::time::Duration;

use agentnet_proto::{
    AccountId,
    signature::{PublicKey, SecretKey},
    subject::inbox_prefix,
};

use super::{Connection, NatsAuth, NatsSettings, connect};
use crate::{error::Error, registry::RegistryClient};

/// How long the first connection may take to close; nobody waits for anything on it.
const CLOSE: Duration = Duration::from_secs(1);
/// How long the server may take to answer on the second connection.
const ANSWER: Duration = Duration::from_secs(5);

/// The first step: a connection on which the key may ask the registry about itself, and register, and nothing else.
#[derive(Debug)]
pub struct KeyDoor {
    first: Connection,
    settings: NatsSettings,
    key: PublicKey,
}

impl KeyDoor {
    /// Connects with the key. Credentials of the settings aren't used.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn open(settings: &NatsSettings, key: &SecretKey) -> Result<Self, Error> {
        let public = key.verifying();
        let mut settings = settings.clone();
        settings.auth = NatsAuth::NkeySeed(key.expose_nkey_seed().into());
        settings.inbox_prefix = Some(inbox_prefix(&public.to_nkey()));
        let first = connect(&settings).await?;
        Ok(Self { first, settings, key: public })
    }

    /// The registry, asked as the key: [`RegistryClient::network`] says which account it has, and
    /// [`RegistryClient::register`] opens a session.
    pub fn registry(&self) -> RegistryClient {
        RegistryClient::over(&self.first).as_key(self.key)
    }

    /// The second step: connects anew as the account that the key speaks for, and closes the first connection.
    ///
    /// # Errors
    /// As [`connect`], and when the server doesn't answer on the connection.
    pub async fn enter(mut self, account: &AccountId) -> Result<Connection, Error> {
        self.settings.inbox_prefix = Some(inbox_prefix(account.as_str()));
        let connected = connect(&self.settings).await;
        // Not waited for: it has nothing more to say.
        let first = self.first;
        tokio::spawn(async move { first.close(CLOSE).await });
        let connection = connected?;
        connection.round_trip(ANSWER).await?;
        Ok(connection)
    }

    /// Gives up.
    pub async fn close(self) {
        let _ = self.first.close(CLOSE).await;
    }
}
