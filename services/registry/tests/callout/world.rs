//! A nats-server that asks, and somebody who answers with the functions under test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentnet_local::testing::TestNats;
use agentnet_proto::signature::{PublicKey, SecretKey};
use agentnet_proto::subject::{AccountId, Capability, REGISTRY_INBOX, inbox_prefix};
use agentnet_proto::{Clock as _, SystemClock, SystemIds};
use agentnet_registry::callout::{
    Admission, Issuer, NATS_ACCOUNT, NetworkSeeds, Permissions, Request, Role, SUBJECT, Sealer, Service,
    XKEY_HEADER,
};
use async_nats::{Client, ConnectError, ConnectOptions, Message};
use futures_util::StreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;

/// Whose key it is.
pub enum Known {
    Agent { id: String, capabilities: Vec<String> },
    Operator { id: String },
    Service(Service),
}

impl Known {
    fn permissions(&self, key: &PublicKey) -> (String, Permissions) {
        let account = |id: &str| AccountId::new(id).unwrap();
        match self {
            Self::Agent { id, capabilities } => {
                let names: Vec<_> = capabilities.iter().map(|c| Capability::new(c).unwrap()).collect();
                let role = Role::Agent { account: &account(id), key, capabilities: &names };
                (id.clone(), role.permissions().unwrap())
            }
            Self::Operator { id } => {
                let role = Role::Operator { account: &account(id), key, capabilities: &[] };
                (id.clone(), role.permissions().unwrap())
            }
            Self::Service(service) => {
                ("a service".to_owned(), Role::Service(*service).permissions().unwrap())
            }
        }
    }
}

/// A request that was answered.
#[derive(Clone)]
pub struct Seen {
    pub request: Request,
    pub sealed: bool,
}

pub struct World {
    pub nats: TestNats,
    /// The registry's key, which stands in the server's configuration.
    pub registry: SecretKey,
    /// The registry's connection, with the registry's permissions.
    pub client: Client,
    seen: Arc<Mutex<Vec<Seen>>>,
    reasons: Arc<Mutex<Vec<String>>>,
    answering: JoinHandle<()>,
}

struct Answerer {
    issuer: Issuer,
    sealer: Sealer,
    known: HashMap<PublicKey, Known>,
    lifetime: Duration,
    seen: Arc<Mutex<Vec<Seen>>>,
    reasons: Arc<Mutex<Vec<String>>>,
}

impl Answerer {
    fn answer(&self, message: &Message) -> Vec<u8> {
        let header = message.headers.as_ref().and_then(|headers| headers.get(XKEY_HEADER));
        let server_key = header.map(|value| value.as_str());
        let token = self.sealer.open(&message.payload, server_key).unwrap();
        let (now, ids) = (SystemClock.now(), SystemIds::new(SystemClock::shared()));
        let request = Request::decode(&token, now).unwrap();
        let answer = match request.prove() {
            Ok(key) => {
                let (name, permissions) = match self.known.get(&key) {
                    Some(known) => known.permissions(&key),
                    None => ("unknown".to_owned(), Role::Unknown { key: &key }.permissions().unwrap()),
                };
                let admission =
                    Admission { name: &name, key: &key, permissions: &permissions, lifetime: self.lifetime };
                self.issuer.admit(&request, &admission, now, &ids)
            }
            Err(error) => {
                self.reasons.lock().unwrap().push(error.to_string());
                self.issuer.refuse(&request, &error.to_string(), now, &ids)
            }
        };
        let sealed = message.payload.starts_with(b"xkv1");
        self.seen.lock().unwrap().push(Seen { request, sealed });
        self.sealer.seal(&answer.unwrap(), server_key.unwrap()).unwrap()
    }
}

impl World {
    pub async fn start(known: impl IntoIterator<Item = (SecretKey, Known)>) -> Self {
        Self::start_lasting(Duration::from_secs(3600), known).await
    }

    pub async fn start_lasting(
        lifetime: Duration,
        known: impl IntoIterator<Item = (SecretKey, Known)>,
    ) -> Self {
        Self::start_with(lifetime, known, true).await
    }

    /// Whoever answers has a password instead of a key.
    pub async fn start_without_nonce(known: impl IntoIterator<Item = (SecretKey, Known)>) -> Self {
        Self::start_with(Duration::from_secs(3600), known, false).await
    }

    async fn start_with(
        lifetime: Duration,
        known: impl IntoIterator<Item = (SecretKey, Known)>,
        by_key: bool,
    ) -> Self {
        let seeds =
            NetworkSeeds::from_parts(NetworkSeeds::NAMES.map(|name| NetworkSeeds::generate(name).unwrap()));
        let issuer = Issuer::from_seed(&seeds.issuer, NATS_ACCOUNT).unwrap();
        let sealer = Sealer::from_seed(&seeds.xkey).unwrap();
        let registry = SecretKey::from_nkey_seed(seeds.registry.expose_secret()).unwrap();
        let config = if by_key {
            seeds.server_config().unwrap()
        } else {
            let permissions = Role::Service(Service::Registry).permissions().unwrap().to_config();
            let user = format!("user: registry, password: registry, permissions: {permissions}");
            format!(
                "accounts {{ AGENTNET {{ jetstream: enabled, users: [ {{ {user} }} ] }}, SYS {{}} }}\n\
                 system_account: SYS\n\
                 authorization {{ auth_callout {{ issuer: {}, account: AGENTNET, auth_users: [ registry ], xkey: {} }} }}\n",
                issuer.public_key(),
                sealer.public_key(),
            )
        };
        let nats = tokio::task::spawn_blocking(move || {
            TestNats::start_with(|options| {
                options.token = None;
                options.extra_config = config;
            })
        })
        .await
        .unwrap();
        let options = if by_key {
            ConnectOptions::with_nkey(registry.expose_nkey_seed())
        } else {
            ConnectOptions::with_user_and_password("registry".to_owned(), "registry".to_owned())
        };
        let client = options.custom_inbox_prefix(REGISTRY_INBOX).connect(nats.url()).await.unwrap();
        let mut requests = client.subscribe(SUBJECT).await.unwrap();
        client.flush().await.unwrap();
        let (seen, reasons) = (Arc::default(), Arc::default());
        let known = known.into_iter().map(|(key, known)| (key.verifying(), known)).collect();
        let answerer = Answerer {
            issuer,
            sealer,
            known,
            lifetime,
            seen: Arc::clone(&seen),
            reasons: Arc::clone(&reasons),
        };
        let answering = tokio::spawn({
            let client = client.clone();
            async move {
                while let Some(message) = requests.next().await {
                    let answer = answerer.answer(&message);
                    client.publish(message.reply.unwrap(), answer.into()).await.unwrap();
                }
            }
        });
        Self { nats, registry, client, seen, reasons, answering }
    }

    /// Connects as the client library does.
    pub async fn connect(&self, key: &SecretKey, owner: &str) -> Result<Client, ConnectError> {
        self.connect_with(key, inbox_prefix(owner)).await
    }

    /// Connects with any prefix of reply subjects.
    pub async fn connect_with(&self, key: &SecretKey, prefix: String) -> Result<Client, ConnectError> {
        ConnectOptions::with_nkey(key.expose_nkey_seed())
            .name("test of the callout")
            .custom_inbox_prefix(prefix)
            .connect(self.nats.url())
            .await
    }

    pub fn registry_nkey(&self) -> String {
        self.registry.verifying().to_nkey()
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Why callers were refused so far.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.lock().unwrap().clone()
    }

    /// Ends, and says if whoever answered had panicked.
    pub async fn stop(self) {
        assert!(!self.answering.is_finished(), "{:?}", self.answering.await);
        self.answering.abort();
    }
}
