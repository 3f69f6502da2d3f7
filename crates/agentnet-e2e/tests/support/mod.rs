//! A whole network in one process: nats-server, Postgres, registry, persister, each of them stoppable.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test support")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentnet::{
    AgentNode, AgentNodeBuilder, Identity, IdentityStore, RegistryClient,
    connect::Connection,
    proto::{SecretText, Security, rpc, subject::REGISTRY_INBOX},
};
use agentnet_gateway::Gateway;
use agentnet_local::{
    PgOptions, PostgresServer, StopMode,
    testing::{TEST_TOKEN, TestDb, TestNats, eventually},
};
use agentnet_persister::Persister;
use agentnet_registry::{Registry, callout::NetworkSeeds};
use agentnet_service::{
    config::Env,
    service::{FullConfig, Service, ServiceError, Started, start},
    shutdown::Shutdown,
};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

pub mod coordinator;
pub mod hook;
pub mod people;
pub mod web;

pub const SECOND: Duration = Duration::from_secs(1);
/// Longest wait for what has to happen.
pub const SOON: Duration = Duration::from_secs(30);

/// The setting that makes a network's agents come with their keys.
const SECURE: (&str, &str) = ("AGENTNET_SECURITY", "secure");

enum Database {
    Shared(TestDb),
    Own { server: Box<PostgresServer>, url: String, _dir: tempfile::TempDir },
}

struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServiceError>>,
}

/// A gateway of the network. Dropping it stops it.
pub struct RunningGateway {
    running: Option<Running>,
    pub addr: SocketAddr,
    pub handle: agentnet_gateway::Handle,
}

impl RunningGateway {
    /// `http://address/path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// `ws://address/path`.
    pub fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    /// Asks it to stop; `stopped` waits for the end.
    pub fn ask_to_stop(&self) {
        self.running.as_ref().unwrap().shutdown.request();
    }

    pub async fn stopped(mut self) {
        stop(self.running.take()).await;
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown.force();
            running.task.abort();
        }
    }
}

/// The network. Dropping it stops everything.
pub struct Stack {
    /// Keys of the services in secure mode.
    pub seeds: Option<NetworkSeeds>,
    /// Identities of the nodes in secure mode.
    identities: tempfile::TempDir,
    pub nats: TestNats,
    /// A connection that speaks as the original SDKs do.
    pub raw: Client,
    database: Database,
    settings: Vec<(&'static str, &'static str)>,
    registry: Mutex<Option<Running>>,
    persister: Mutex<Option<Running>>,
}

impl Stack {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One in signed mode.
    pub async fn signed() -> Self {
        Self::start_with(&[("AGENTNET_SECURITY", "signed")]).await
    }

    /// One whose services have these variables too.
    pub async fn start_with(settings: &[(&'static str, &'static str)]) -> Self {
        Self::with(Database::Shared(database().await), settings).await
    }

    /// One in secure mode, whose services have these variables too.
    pub async fn secure(settings: &[(&'static str, &'static str)]) -> Self {
        let settings: Vec<_> = [SECURE].into_iter().chain(settings.iter().copied()).collect();
        Self::with(Database::Shared(database().await), &settings).await
    }

    /// One in secure mode whose Postgres can be killed without harm to other tests.
    pub async fn secure_with_own_postgres() -> Self {
        Self::with(own_postgres().await, &[SECURE]).await
    }

    /// One whose Postgres can be killed without harm to other tests.
    pub async fn with_own_postgres() -> Self {
        Self::with(own_postgres().await, &[]).await
    }

    async fn with(database: Database, settings: &[(&'static str, &'static str)]) -> Self {
        let seeds = settings.contains(&SECURE).then(|| {
            NetworkSeeds::from_parts(NetworkSeeds::NAMES.map(|name| NetworkSeeds::generate(name).unwrap()))
        });
        let config = seeds.as_ref().map(|seeds| seeds.server_config().unwrap());
        let nats = TestNats::start_with(|options| {
            if let Some(config) = config {
                options.token = None;
                options.extra_config = config;
            }
        });
        let options = match &seeds {
            // In secure mode nobody but the registry may hear and say so much.
            Some(seeds) => async_nats::ConnectOptions::with_nkey(seeds.registry.expose_secret().to_owned())
                .custom_inbox_prefix(REGISTRY_INBOX),
            None => async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned()),
        };
        let raw = options
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(nats.host_port())
            .await
            .unwrap();
        let (registry, persister) = (Mutex::new(None), Mutex::new(None));
        let (identities, settings) = (tempfile::tempdir().unwrap(), settings.to_vec());
        let stack = Self { seeds, identities, nats, raw, database, settings, registry, persister };
        stack.start_persister().await;
        stack.start_registry().await;
        stack
    }

    fn env(&self, seed: impl Fn(&NetworkSeeds) -> &SecretString) -> Env {
        let database_url = self.database_url().to_owned();
        let pairs = [
            ("NATS_URL", self.nats.url()),
            ("DATABASE_URL", database_url),
            ("AGENTNET_NATS_RECONNECT_MAX_SECONDS", "0.1".to_owned()),
            ("AGENTNET_DB_CONNECTIONS", "4".to_owned()),
            ("AGENTNET_DEPLOYMENT", "e2e".to_owned()),
            ("AGENTNET_TOKEN_SECRET", "a secret of these tests, long enough".to_owned()),
        ];
        let mut pairs: BTreeMap<&str, String> = pairs.into_iter().collect();
        if self.security() != Security::Open {
            pairs.insert("AGENTNET_GATEWAY_KEYS", self.identity("gateway").public_key().to_string());
        }
        if let Some(seeds) = &self.seeds {
            let secret = |seed: &SecretString| seed.expose_secret().to_owned();
            pairs.insert("AGENTNET_NKEY_SEED", secret(seed(seeds)));
            pairs.insert("AGENTNET_ENROLMENT", "open".to_owned());
            pairs.insert("AGENTNET_CALLOUT_SEED", secret(&seeds.issuer));
            pairs.insert("AGENTNET_CALLOUT_XKEY_SEED", secret(&seeds.xkey));
            pairs.insert("AGENTNET_SYSTEM_NKEY_SEED", secret(&seeds.system));
        }
        pairs.insert("AGENTNET_OPERATOR_KEYS", self.identity("operator").public_key().to_string());
        pairs.extend(self.settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Env::from_pairs(pairs)
    }

    pub async fn start_registry(&self) {
        let mut config = FullConfig::read::<Registry>(&self.env(|seeds| &seeds.registry)).unwrap();
        config.service.announce = false;
        let running = run::<Registry>(config).await;
        *self.registry.lock().unwrap() = Some(running);
    }

    pub async fn start_persister(&self) {
        let running =
            run::<Persister>(FullConfig::read::<Persister>(&self.env(|seeds| &seeds.persister)).unwrap())
                .await;
        *self.persister.lock().unwrap() = Some(running);
    }

    /// A gateway on a free port, with these variables too.
    pub async fn gateway(&self, settings: &[(&str, &str)]) -> RunningGateway {
        self.gateway_with(settings, |_| {}).await
    }

    /// The same, with what no variable can say, such as another clock.
    pub async fn gateway_with(
        &self,
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut agentnet_gateway::Config),
    ) -> RunningGateway {
        let mut pairs = BTreeMap::from([
            ("NATS_URL", self.nats.url()),
            ("AGENTNET_NATS_RECONNECT_MAX_SECONDS", "0.1".to_owned()),
            ("AGENTNET_DEPLOYMENT", "e2e".to_owned()),
            ("GATEWAY_LISTEN", "127.0.0.1:0".to_owned()),
        ]);
        pairs.extend(self.settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let seed = || self.identity("gateway").key().expose_nkey_seed();
        match self.security() {
            Security::Open => {}
            Security::Signed => drop(pairs.insert("GATEWAY_KEY_SEED", seed())),
            Security::Secure => drop(pairs.insert("AGENTNET_NKEY_SEED", seed())),
        }
        pairs.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut config = FullConfig::read::<Gateway>(&Env::from_pairs(pairs)).unwrap();
        change(&mut config.service);
        let shutdown = Shutdown::new(config.chassis.shutdown);
        let Started { task, handle, .. } = start::<Gateway>(config, &shutdown).await.unwrap();
        RunningGateway { running: Some(Running { shutdown, task }), addr: handle.addrs()[0], handle }
    }

    pub async fn stop_registry(&self) {
        let running = self.registry.lock().unwrap().take();
        stop(running).await;
    }

    pub async fn stop_persister(&self) {
        let running = self.persister.lock().unwrap().take();
        stop(running).await;
    }

    /// At once, backends and all, as a crash would.
    pub fn crash_postgres(&self) {
        match &self.database {
            Database::Own { server, .. } => server.stop(StopMode::Immediate),
            Database::Shared(_) => panic!("other tests use this Postgres"),
        }
    }

    pub fn restart_postgres(&self) {
        match &self.database {
            Database::Own { server, .. } => server.restart().unwrap(),
            Database::Shared(_) => panic!("other tests use this Postgres"),
        }
    }

    /// What stands in Postgres.
    pub fn database_url(&self) -> &str {
        match &self.database {
            Database::Shared(db) => db.url(),
            Database::Own { url, .. } => url,
        }
    }

    /// An agent; in secure mode with the identity of that name.
    pub fn node(&self, agent_id: &str) -> AgentNodeBuilder {
        let builder = AgentNode::builder(agent_id).nats_url(self.nats.url()).dev_auth(false);
        match self.seeds {
            Some(_) => builder.security(Security::Secure).identity(self.identity(agent_id)),
            None => builder,
        }
    }

    /// What its services were told beyond the defaults.
    pub fn settings(&self) -> &[(&'static str, &'static str)] {
        &self.settings
    }

    fn security(&self) -> Security {
        let named = self.settings.iter().find(|(name, _)| *name == "AGENTNET_SECURITY");
        named.map_or(Security::Open, |(_, mode)| mode.parse().unwrap())
    }

    /// Makes a person's account.
    pub async fn person(&self, username: &str, password: &str) {
        let request = rpc::UserCreateRequest {
            username: username.to_owned(),
            password: SecretText::new(password),
            ..rpc::UserCreateRequest::default()
        };
        self.as_operator(async |registry, account_id| {
            registry.user_create(&rpc::UserCreateRequest { account_id, ..request }).await.unwrap();
        })
        .await;
    }

    /// Gives a person another password.
    pub async fn person_password(&self, username: &str, password: &str) {
        let request = rpc::UserSetPasswordRequest {
            target: Some(username.to_owned()),
            new_password: SecretText::new(password),
            ..rpc::UserSetPasswordRequest::default()
        };
        self.as_operator(async |registry, account_id| {
            registry.user_set_password(&rpc::UserSetPasswordRequest { account_id, ..request }).await.unwrap();
        })
        .await;
    }

    async fn as_operator(&self, work: impl AsyncFnOnce(RegistryClient, Option<String>)) {
        if self.security() == Security::Open {
            return work(self.registry(), None).await;
        }
        let operator = self.node("operator").identity(self.identity("operator")).start().await.unwrap();
        work(operator.registry().clone(), Some(operator.account_id().to_owned())).await;
        operator.close().await.unwrap();
    }

    /// An identity of this network's.
    pub fn identity(&self, name: &str) -> Identity {
        IdentityStore::new(self.identities.path()).open_or_create(name, None).unwrap()
    }

    /// A second registry, which the caller stops.
    pub async fn another_registry(&self) -> impl Future<Output = ()> {
        let mut config = FullConfig::read::<Registry>(&self.env(|seeds| &seeds.registry)).unwrap();
        config.service.announce = false;
        config.service.server_id = "second".to_owned();
        let running = run::<Registry>(config).await;
        async move { stop(Some(running)).await }
    }

    /// Stored messages of a thread, newest first.
    pub async fn stored(&self, registry: &RegistryClient, thread_id: &str) -> Vec<rpc::MessageRow> {
        let request = rpc::ThreadMessagesRequest {
            thread_id: thread_id.to_owned(),
            limit: Some(200),
            ..Default::default()
        };
        registry.thread_messages(&request).await.unwrap().messages
    }

    /// The same, however many pages they take.
    pub async fn stored_all(&self, registry: &RegistryClient, thread_id: &str) -> Vec<rpc::MessageRow> {
        let (mut rows, mut cursor) = (Vec::new(), None);
        loop {
            let request =
                rpc::ThreadMessagesRequest { thread_id: thread_id.to_owned(), cursor, ..Default::default() };
            let page = registry.thread_messages(&request).await.unwrap();
            rows.extend(page.messages);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return rows;
            }
        }
    }

    /// A registry client over the raw connection.
    pub fn registry(&self) -> RegistryClient {
        RegistryClient::new(self.raw.clone())
    }

    /// Registers as an original SDK does; its account and session.
    pub async fn register_original(&self, agent_id: &str) -> (String, String) {
        let body = json!({"agent_id": agent_id, "name": agent_id, "capabilities": [], "metadata": {}});
        let request = self.raw.request("registry.register", body.to_string().into());
        let answer = timeout(SOON, request).await.expect("no answer").unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (text("account_id"), text("session_tag"))
    }

    /// Subscribes, and waits until the server knows.
    pub async fn listen(&self, subject: String) -> Subscriber {
        let subscription = self.raw.subscribe(subject).await.unwrap();
        let inbox = self.raw.new_inbox();
        let mut trip = self.raw.subscribe(inbox.clone()).await.unwrap();
        self.raw.publish(inbox, "".into()).await.unwrap();
        timeout(SOON, trip.next()).await.unwrap().unwrap();
        subscription
    }

    pub async fn publish(&self, subject: String, body: &Value) {
        self.raw.publish(subject, body.to_string().into()).await.unwrap();
    }
}

async fn database() -> TestDb {
    TestDb::create_from("e2e", |url| async move {
        let config = agentnet_store::StoreConfig::new(url.into(), "e2e");
        agentnet_store::Store::migrate(&config).await
    })
    .await
}

/// An identity that lives as long as the test.
pub fn identity(name: &str) -> Identity {
    let dir = tempfile::tempdir().unwrap();
    agentnet::IdentityStore::new(dir.path()).create(name, None).unwrap()
}

async fn own_postgres() -> Database {
    let dir = tempfile::Builder::new().prefix("agentnet-e2e-").tempdir().unwrap();
    // Postgres doesn't run as root; another user must be able to reach its directory.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let options =
        PgOptions { shared_buffers: "16MB".to_owned(), ..PgOptions::new(dir.path().join("pg"), "pw".into()) };
    let started = tokio::task::spawn_blocking(move || PostgresServer::start(options));
    let server = Box::new(started.await.unwrap().unwrap());
    server.create_database("e2e").await.unwrap();
    let url = server.url("e2e");
    Database::Own { server, url, _dir: dir }
}

async fn run<S: Service>(config: FullConfig<S::Config>) -> Running {
    let shutdown = Shutdown::new(config.chassis.shutdown);
    let Started { task, .. } = start::<S>(config, &shutdown).await.unwrap();
    Running { shutdown, task }
}

async fn stop(running: Option<Running>) {
    if let Some(running) = running {
        running.shutdown.request();
        timeout(SOON, running.task).await.expect("the stop hangs").unwrap().unwrap();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for running in [&self.registry, &self.persister] {
            if let Some(running) = running.lock().unwrap().take() {
                running.shutdown.force();
                running.task.abort();
            }
        }
    }
}

pub async fn next_json(subscription: &mut Subscriber) -> Value {
    let message = timeout(SOON, subscription.next()).await.expect("nothing came").unwrap();
    serde_json::from_slice(&message.payload).unwrap()
}

/// Waits for a condition.
/// What a listener heard, in order if it handles one message at a time.
pub type Heard = Arc<Mutex<Vec<String>>>;

/// Waits until a listener has heard this, and nothing else; says at the deadline what it heard instead.
///
/// # Panics
/// At the deadline.
#[track_caller]
pub fn hears(heard: &Heard, expected: &[&str]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let there = eventually(SOON, || std::future::ready(*heard.lock().unwrap() == expected));
        if tokio::time::timeout(SOON - SECOND, there).await.is_err() {
            panic!("{caller}: heard {:?} instead of {expected:?}", heard.lock().unwrap());
        }
    }
}

pub async fn until(mut condition: impl FnMut() -> bool) {
    eventually(SOON, || std::future::ready(condition())).await;
}

/// Waits for a condition that others are asked about.
pub async fn until_async<F: Future<Output = bool>>(condition: impl FnMut() -> F) {
    eventually(SOON, condition).await;
}

pub async fn wait_disconnected(connection: &Connection) {
    until(|| !connection.is_connected()).await;
}

/// An envelope as the original Python SDK writes it.
pub fn original(from: &(String, String), to: &str, message_id: &str, payload: &Value) -> Value {
    let sent_at = agentnet::proto::Clock::now(&agentnet::proto::SystemClock);
    json!({
        "message_id": message_id, "from_agent": "original", "to_agent": to, "payload": payload,
        "sent_at": sent_at.to_string(), "kind": "direct", "schema_version": "1.1", "from_session_tag": from.1,
        "from_account_id": from.0, "to_account_id": to, "ttl_ms": 30000, "trace_id": message_id,
        "thread_id": format!("thread_{message_id}"),
    })
}
