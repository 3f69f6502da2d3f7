//! What the tests share: real servers, registries in this process, raw NATS requests of the original's shapes.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

pub mod agents;
pub mod rows;
pub mod secure;

use std::collections::BTreeMap;
use std::time::Duration;

use agentnet_local::testing::{TEST_TOKEN, TestDb, TestNats};
use agentnet_registry::{Handle, Registry};
use agentnet_service::config::Env;
use agentnet_service::service::{FullConfig, Started, start};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::{Store, StoreConfig};
use async_nats::Client;
use serde_json::{Value, json};
use sqlx::PgPool;

/// Longest wait of any test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A NATS server, a database with the schema, and a connection to each.
pub struct World {
    pub nats: TestNats,
    pub db: TestDb,
    pub client: Client,
    pub pool: PgPool,
}

impl World {
    pub async fn new() -> Self {
        if let Ok(filter) = std::env::var("TEST_LOG") {
            let config = agentnet_service::config::LogConfig { filter, ..Default::default() };
            agentnet_service::telemetry::init(&config);
        }
        let nats = TestNats::start();
        let db = TestDb::create_from("registry", |url| async move {
            Store::migrate(&StoreConfig::new(url.into(), "test")).await
        })
        .await;
        let client = connect(&nats.url()).await;
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect(db.url()).await.unwrap();
        Self { nats, db, client, pool }
    }

    /// A registry of this world.
    pub async fn registry(&self, settings: &[(&str, &str)]) -> Running {
        Running::start(&self.nats.url(), self.db.url(), settings).await
    }

    /// One request; the answer as JSON.
    pub async fn call(&self, method: &str, body: Value) -> Value {
        call(&self.client, method, &body.to_string()).await
    }

    /// A request whose body is sent as it is.
    pub async fn call_raw(&self, method: &str, body: impl Into<Vec<u8>>) -> Value {
        let request = self.client.request(format!("registry.{method}"), body.into().into());
        let answer = tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// The error string of an answer.
    pub async fn error(&self, method: &str, body: Value) -> String {
        let answer = self.call(method, body).await;
        answer["error"].as_str().unwrap_or_else(|| panic!("no error in {answer}")).to_owned()
    }

    pub async fn register(&self, body: Value) -> Value {
        let answer = self.call("register", body).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    pub async fn publish(&self, method: &str, body: &Value) {
        self.client.publish(format!("registry.{method}"), body.to_string().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Session tags that `registry.list` shows.
    pub async fn listed(&self) -> Vec<String> {
        let answer = self.call("list", json!({})).await;
        let tag = |agent: &Value| agent["session_tag"].as_str().unwrap().to_owned();
        answer["agents"].as_array().unwrap().iter().map(tag).collect()
    }
}

pub async fn connect(url: &str) -> Client {
    // The client library reads no token out of a URL.
    async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned())
        .request_timeout(Some(PATIENCE))
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(url)
        .await
        .unwrap()
}

pub async fn call(client: &Client, method: &str, body: &str) -> Value {
    let request = client.request(format!("registry.{method}"), body.to_owned().into());
    let answer = tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// A registry in this process.
pub struct Running {
    pub handle: Handle,
    pub health: std::net::SocketAddr,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), agentnet_service::service::ServiceError>>,
}

impl Running {
    pub async fn start(nats_url: &str, database_url: &str, settings: &[(&str, &str)]) -> Self {
        let base = [
            ("NATS_URL", nats_url),
            ("DATABASE_URL", database_url),
            ("AGENTNET_HTTP_ADDR", "127.0.0.1:0"),
            ("AGENTNET_NATS_RECONNECT_MAX_SECONDS", "0.1"),
            ("AGENTNET_DB_CONNECTIONS", "4"),
        ];
        let pairs: BTreeMap<&str, &str> = base.into_iter().chain(settings.iter().copied()).collect();
        let mut config = FullConfig::read::<Registry>(&Env::from_pairs(pairs)).unwrap();
        config.service.announce = false;
        let shutdown = Shutdown::new(config.chassis.shutdown);
        let Started { handle, health_addr, task } = start::<Registry>(config, &shutdown).await.unwrap();
        Self { handle, health: health_addr.unwrap(), shutdown, task }
    }

    /// An orderly stop.
    pub async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the stop hangs").unwrap().unwrap();
    }

    /// As a crash would: nothing is flushed, nobody is told.
    pub fn kill(self) {
        self.shutdown.force();
        self.task.abort();
    }
}
