//! What `agentnet send` exits with when a message isn't taken, on a network whose persister isn't running.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;

use agentnet::AgentNode;
use agentnet_local::testing::{TestDb, TestNats};
use agentnet_registry::Registry;
use agentnet_service::{
    config::Env,
    service::{FullConfig, Started, start},
    shutdown::Shutdown,
};
use agentnet_store::{Store, StoreConfig};
use support::{Place, Ran};
use tokio::runtime::Runtime;

/// NATS, Postgres and a registry. Nothing stores messages.
struct Unstored {
    place: Place,
    runtime: Runtime,
    shutdown: Shutdown,
    nats: TestNats,
    _db: TestDb,
}

impl Unstored {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nats = TestNats::start();
        let (db, shutdown) = runtime.block_on(async {
            let db = TestDb::create_from("cli", |url| async move {
                Store::migrate(&StoreConfig::new(url.into(), "cli")).await
            })
            .await;
            let pairs = [("NATS_URL", nats.url()), ("DATABASE_URL", db.url().to_owned())];
            let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
            let env = Env::from_pairs(pairs.collect::<BTreeMap<_, _>>());
            let config = FullConfig::read::<Registry>(&env).unwrap();
            let shutdown = Shutdown::new(config.chassis.shutdown);
            let Started { .. } = start::<Registry>(config, &shutdown).await.unwrap();
            (db, shutdown)
        });
        Self { place: Place::new(), runtime, shutdown, nats, _db: db }
    }

    fn send(&self, args: &[&str]) -> Ran {
        let url = self.nats.url();
        let common = ["send", "--nats-url", &url, "--retry-attempts", "0", "--receipt-timeout", "0.5"];
        self.place.run(&[&common, args].concat())
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.shutdown.force();
    }
}

#[test]
fn unconfirmed_and_refused_messages_exit_with_2() {
    let network = Unstored::start();
    let ran = network.send(&["--to-account", "acct_absent", "{}"]).exits(2);
    assert_eq!(ran.warns("error: unconfirmed:").warns("hint: it may still arrive").stdout, "");
    let json = network.send(&["--json", "--to-account", "acct_absent", "{}"]).exits(2).json();
    assert_eq!((json["error"].as_str(), json["retryable"].as_bool()), (Some("unconfirmed"), Some(true)));

    // Who waits for nothing is told nothing.
    let ran = network.send(&["--no-ack", "--to-account", "acct_absent", "{}"]).exits(0);
    assert_eq!(ran.says("sent, nothing waited for").stderr, "");

    // A refusal that no repetition changes. The recipient answers for itself: nobody stores anything here.
    let builder = AgentNode::builder("small_bot").nats_url(network.nats.url()).max_payload_bytes(700);
    let _small = network.runtime.block_on(builder.on_message(|_| async { Ok(()) }).start()).unwrap();
    network.send(&["--to-username", "small_bot", "{}"]).exits(2).warns("error: unconfirmed:");
    let long = format!("\"{}\"", "x".repeat(1000));
    let ran = network.send(&["--to-username", "small_bot", &long]).exits(2);
    assert_eq!(ran.warns("error: payload_too_large:").warns("hint: send less").stdout, "");
    let json = network.send(&["--json", "--to-username", "small_bot", &long]).exits(2).json();
    assert_eq!(
        (json["error"].as_str(), json["retryable"].as_bool()),
        (Some("payload_too_large"), Some(false))
    );
}
