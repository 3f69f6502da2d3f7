//! What isn't there yet when the persister starts.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::{TestDb, TestNats};
use agentnet_persister::Config;
use async_nats::ConnectOptions;
use futures_util::StreamExt as _;
use support::{LIMIT, Net, message, migrate, start_at};
use tokio::time::timeout;

#[tokio::test]
async fn nats_and_then_jetstream_may_come_later() {
    let db = TestDb::create_from("persister", migrate).await;
    // The port is ours, and nobody is there.
    let without = TestNats::start_with(|options| options.jetstream = false);
    let (url, port, token) = (without.url(), without.port(), without.token().cloned());
    without.stop();
    let visitors = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let config = Config::new(db.url().to_owned().into());
    let starting = tokio::spawn(async move { start_at(&url, config, None).await.0 });
    // It has knocked.
    timeout(LIMIT, visitors.accept()).await.unwrap().unwrap();
    drop(visitors);
    without.restart().unwrap();

    // NATS is there now, and nobody who knows of a stream.
    let options =
        ConnectOptions::with_token(secrecy::ExposeSecret::expose_secret(&token.unwrap()).to_owned());
    let client = options.connect(without.host_port()).await.unwrap();
    let mut asked = client.subscribe("$JS.API.STREAM.INFO.AGENTNET").await.unwrap();
    timeout(LIMIT, asked.next()).await.unwrap().unwrap();
    assert!(!starting.is_finished(), "it can't work without JetStream");
    drop((asked, client));
    without.stop();

    let nats = TestNats::start_with(|options| options.port = Some(port));
    let net = Net::with(nats, db.url().to_owned(), Some(db)).await;
    let running = timeout(LIMIT, starting).await.unwrap().unwrap();
    net.send(&message("m1")).await;
    net.notices.wait_stored("alice", "m1", 1).await;
    net.delivery_is("m1", "bob", "pending", true).await;
    running.stop().await;
}
