//! A private nats-server, a database, and persisters between them.
#![allow(dead_code, reason = "each test binary uses a part")]
#![expect(clippy::unwrap_used, reason = "only tests use it")]

use std::{collections::HashMap, net::SocketAddr, sync::Mutex, time::Duration};

use agentnet_local::testing::{TestDb, TestNats, eventually};
use agentnet_persister::{Config, Counters, Handle, Persister};
use agentnet_proto::{Envelope, Payload, Receipt, ReceiptStatus, StoredNotice};
use agentnet_service::{
    config::{ChassisConfig, HttpConfig, NatsConfig, ShutdownConfig},
    service::{FullConfig, Started, start},
    shutdown::Shutdown,
};
use agentnet_store::{Store, StoreConfig};
use async_nats::{Client, HeaderMap, jetstream};
use futures_util::StreamExt;
use sqlx::PgPool;

pub const LIMIT: Duration = Duration::from_secs(30);

/// A network without persister.
pub struct Net {
    pub nats: TestNats,
    pub client: Client,
    pub pool: PgPool,
    pub database_url: String,
    pub notices: Notices,
    _db: Option<TestDb>,
}

/// A running persister.
pub struct Running {
    pub handle: Handle,
    pub shutdown: Shutdown,
    task: Option<Started<Handle>>,
}

impl Net {
    pub async fn start() -> Self {
        let db = TestDb::create_from("persister", migrate).await;
        let url = db.url().to_owned();
        Self::with_database(url, Some(db)).await
    }

    pub async fn with_database(database_url: String, db: Option<TestDb>) -> Self {
        Self::with(TestNats::start(), database_url, db).await
    }

    /// One on a server that runs already.
    pub async fn with(nats: TestNats, database_url: String, db: Option<TestDb>) -> Self {
        let config = NatsConfig::from_url(&nats.url()).unwrap();
        let client = agentnet_service::nats::connect(&config, "test").await.unwrap().client().clone();
        let notices = Notices::listen(&client).await;
        let pool =
            sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&database_url).await.unwrap();
        Self { nats, client, pool, database_url, notices, _db: db }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(self.database_url.clone().into());
        config.stream.ack_wait = Duration::from_secs(1);
        config.stream.max_bytes = 64 << 20;
        config
    }

    /// Makes the stream, which otherwise the first persister does.
    pub async fn stream(&self) {
        let context = jetstream::new(self.client.clone());
        agentnet_persister::stream::ensure(&context, &self.config().stream).await.unwrap();
    }

    pub async fn persister(&self) -> Running {
        self.persister_with(self.config()).await
    }

    pub async fn persister_with(&self, config: Config) -> Running {
        self.start_persister(config, None).await.0
    }

    /// One with a health endpoint, and where that listens.
    pub async fn persister_with_http(&self, config: Config) -> (Running, SocketAddr) {
        let (running, addr) = self.start_persister(config, Some(([127, 0, 0, 1], 0).into())).await;
        (running, addr.unwrap())
    }

    async fn start_persister(
        &self,
        config: Config,
        http: Option<SocketAddr>,
    ) -> (Running, Option<SocketAddr>) {
        start_at(&self.nats.url(), config, http).await
    }

    pub async fn publish(&self, subject: &str, body: impl Into<Vec<u8>>) {
        self.client.publish(subject.to_owned(), body.into().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    pub async fn publish_with(&self, subject: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        self.client.publish_with_headers(subject.to_owned(), map, body.into().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Publishes an envelope to its account's inbox.
    pub async fn send(&self, envelope: &Envelope) -> Vec<u8> {
        let body = envelope.encode().unwrap();
        let to = envelope.to_account_id.as_deref().unwrap_or("nobody");
        self.publish(&format!("account.{to}.inbox"), body.clone()).await;
        body
    }

    pub async fn receipt(&self, to: &str, receipt: &Receipt) {
        self.publish(&format!("account.{to}.receipts"), serde_json::to_vec(receipt).unwrap()).await;
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn has(&self, sql: &'static str, wanted: i64) {
        eventually(LIMIT, || async { (self.number(sql).await == wanted).then_some(()) }).await;
    }

    /// Nothing is left in the stream, not even unacknowledged.
    pub async fn drained(&self) {
        let context = jetstream::new(self.client.clone());
        eventually(LIMIT, || async {
            let stream = context.get_stream("AGENTNET").await.ok()?;
            (stream.cached_info().state.messages == 0).then_some(())
        })
        .await;
    }

    pub async fn in_stream(&self) -> u64 {
        let context = jetstream::new(self.client.clone());
        context.get_stream("AGENTNET").await.unwrap().cached_info().state.messages
    }

    /// (state, last_code, has_message) of one delivery.
    pub async fn delivery(
        &self,
        message_id: &str,
        recipient: &str,
    ) -> Option<(String, Option<String>, bool)> {
        sqlx::query_as(
            "SELECT state, last_code, has_message FROM agent_deliveries WHERE message_id = $1 AND recipient = $2",
        )
        .bind(message_id)
        .bind(recipient)
        .fetch_optional(&self.pool)
        .await
        .unwrap()
    }

    pub async fn delivery_is(&self, message_id: &str, recipient: &str, state: &str, has_message: bool) {
        eventually(LIMIT, || async {
            let found = self.delivery(message_id, recipient).await?;
            (found.0 == state && found.2 == has_message).then_some(())
        })
        .await;
    }
}

/// A persister of the NATS at `url`, which needn't be there yet.
pub async fn start_at(url: &str, config: Config, http: Option<SocketAddr>) -> (Running, Option<SocketAddr>) {
    let shutdown = Shutdown::new(ShutdownConfig::default());
    let chassis = ChassisConfig {
        nats: NatsConfig { connect_deadline: LIMIT, ..NatsConfig::from_url(url).unwrap() },
        http: HttpConfig { addr: http, ..HttpConfig::default() },
        shutdown: ShutdownConfig::default(),
        worker_threads: 1,
    };
    let started = start::<Persister>(FullConfig { chassis, service: config }, &shutdown).await.unwrap();
    let addr = started.health_addr;
    (Running { handle: started.handle.clone(), shutdown, task: Some(started) }, addr)
}

impl Running {
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// An orderly stop.
    pub async fn stop(mut self) {
        self.shutdown.request();
        self.task.take().unwrap().task.await.unwrap().unwrap();
    }

    /// Ends without finishing anything.
    pub async fn kill(mut self) {
        let task = self.task.take().unwrap().task;
        self.shutdown.force();
        let _ = task.await;
    }
}

/// Everything said on `account.*.stored`, in the order it came.
pub struct Notices {
    seen: std::sync::Arc<Mutex<HashMap<String, Vec<StoredNotice>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Notices {
    async fn listen(client: &Client) -> Self {
        let mut subscriber = client.subscribe("account.*.stored").await.unwrap();
        client.flush().await.unwrap();
        let seen = std::sync::Arc::<Mutex<HashMap<String, Vec<StoredNotice>>>>::default();
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Some(message) = subscriber.next().await {
                    let account = message.subject.split('.').nth(1).unwrap().to_owned();
                    let notice = serde_json::from_slice(&message.payload).unwrap();
                    seen.lock().unwrap().entry(account).or_default().push(notice);
                }
            }
        });
        Self { seen, task }
    }

    pub fn of(&self, account: &str) -> Vec<StoredNotice> {
        self.seen.lock().unwrap().get(account).cloned().unwrap_or_default()
    }

    /// How often `message_id` was confirmed to `account`.
    pub fn stored(&self, account: &str, message_id: &str) -> usize {
        self.of(account).iter().flat_map(|n| &n.message_ids).filter(|id| *id == message_id).count()
    }

    pub async fn wait_stored(&self, account: &str, message_id: &str, times: usize) {
        eventually(LIMIT, || async { (self.stored(account, message_id) >= times).then_some(()) }).await;
    }

    /// The code under which `message_id` was refused.
    pub async fn wait_failed(&self, account: &str, message_id: &str) -> String {
        eventually(LIMIT, || async {
            let notices = self.of(account);
            let failed = notices.iter().flat_map(|n| &n.failed).find(|f| f.message_id == message_id)?;
            assert_eq!(failed.state, "rejected");
            Some(failed.code.clone())
        })
        .await
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn migrate(url: String) -> Result<(), agentnet_store::StoreError> {
    Store::migrate(&StoreConfig::new(url.into(), "test")).await
}

/// A message from `alice` to `bob`.
pub fn message(id: &str) -> Envelope {
    let text = format!(
        r#"{{"message_id":"{id}","from_agent":"alice","from_account_id":"alice","to_agent":"bob","to_account_id":"bob",
            "payload":{{"text":"hello {id}"}},"sent_at":"2026-02-21T08:00:00Z","ttl_ms":30000,"thread_id":"t1",
            "kind":"direct","schema_version":"1.2"}}"#
    );
    Envelope::decode(text.as_bytes()).unwrap()
}

pub fn with_payload(id: &str, payload: &str) -> Envelope {
    Envelope { payload: Payload::from_text(payload.to_owned()).unwrap(), ..message(id) }
}

/// A receipt of `bob` about a message of `alice`.
pub fn receipt(id: &str, status: ReceiptStatus, code: Option<&str>) -> Receipt {
    Receipt {
        message_id: id.to_owned(),
        status,
        event_at: "2026-02-21T08:00:01Z".to_owned(),
        from_account_id: Some("bob".to_owned()),
        from_session_tag: Some("s1".to_owned()),
        to_account_id: Some("alice".to_owned()),
        trace_id: None,
        thread_id: None,
        parent_message_id: None,
        code: code.map(str::to_owned),
        detail: None,
        to_agent: Some("bob".to_owned()),
        body_sha256: None,
        schema_version: Some("1.2".to_owned()),
    }
}
