//! What the tests share: a private nats-server, a connection, bounded waits.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::future::Future;
use std::time::Duration;

use agentnet_proto::error::RpcError;
use agentnet_service::config::{NatsConfig, ShutdownConfig};
use agentnet_service::nats::{self, Nats};
use agentnet_service::rpc::{RpcServer, RpcServerBuilder, default_faults};
use agentnet_service::shutdown::Shutdown;
use agentnet_service::stats::Stats;
use async_nats::Client;
use serde_json::Value;

pub use agentnet_local::testing::TestNats;

/// Token of [`TestNats`].
pub const TOKEN: &str = agentnet_local::testing::TEST_TOKEN;

/// Longest wait of any test.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(url: &str) -> NatsConfig {
    let mut config = NatsConfig::from_url(url).unwrap();
    config.reconnect_max = Duration::from_millis(100);
    config
}

pub async fn connect(server: &TestNats) -> Nats {
    nats::connect(&config(&server.url()), "test").await.unwrap()
}

pub fn builder(nats: &Nats) -> RpcServerBuilder<RpcError> {
    RpcServer::builder(nats, &Stats::default(), default_faults)
}

pub fn shutdown(soft: Duration, hard: Duration) -> Shutdown {
    Shutdown::new(ShutdownConfig { soft, hard })
}

/// One request with a bounded wait; the answer as JSON.
pub async fn call(client: &Client, subject: &str, body: &str) -> Value {
    let request = client.request(subject.to_owned(), body.to_owned().into());
    let answer = tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Waits until the condition holds.
pub async fn until<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never happened: {what}");
}
