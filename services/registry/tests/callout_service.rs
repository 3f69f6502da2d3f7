//! The auth callout as the registry serves it: keys out of Postgres, several replicas, ended connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agentnet_local::testing::{TestDb, TestNats, eventually};
use agentnet_proto::signature::SecretKey;
use agentnet_proto::subject::{REGISTRY_INBOX, inbox_prefix};
use agentnet_registry::Registry;
use agentnet_registry::callout::NetworkSeeds;
use agentnet_service::config::Env;
use agentnet_service::service::{FullConfig, ServiceError, start};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::{Store, StoreConfig};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
const ALICE: &str = "acct_01kahj000000000000000000aa";
const BOB: &str = "acct_01kahj000000000000000000bb";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

struct World {
    nats: TestNats,
    db: TestDb,
    pool: PgPool,
    seeds: NetworkSeeds,
}

struct Replica {
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServiceError>>,
}

impl Replica {
    async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the stop hangs").unwrap().unwrap();
    }
}

impl World {
    async fn new() -> Self {
        let seeds =
            NetworkSeeds::from_parts(NetworkSeeds::NAMES.map(|name| NetworkSeeds::generate(name).unwrap()));
        let config = seeds.server_config().unwrap();
        let nats = TestNats::start_with(|options| {
            options.token = None;
            options.extra_config = config;
        });
        let db = TestDb::create_from("callout", |url| async move {
            Store::migrate(&StoreConfig::new(url.into(), "test")).await
        })
        .await;
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect(db.url()).await.unwrap();
        Self { nats, db, pool, seeds }
    }

    async fn replica(&self, settings: &[(&str, &str)]) -> Replica {
        let seeds = &self.seeds;
        let url = self.nats.url();
        let base = [
            ("NATS_URL", url.as_str()),
            ("DATABASE_URL", self.db.url()),
            ("AGENTNET_SECURITY", "secure"),
            ("AGENTNET_DEPLOYMENT", "test"),
            ("AGENTNET_NKEY_SEED", seeds.registry.expose_secret()),
            ("AGENTNET_CALLOUT_SEED", seeds.issuer.expose_secret()),
            ("AGENTNET_CALLOUT_XKEY_SEED", seeds.xkey.expose_secret()),
            ("AGENTNET_SYSTEM_NKEY_SEED", seeds.system.expose_secret()),
            ("AGENTNET_DB_CONNECTIONS", "4"),
        ];
        let pairs: BTreeMap<&str, &str> = base.into_iter().chain(settings.iter().copied()).collect();
        let mut config = FullConfig::read::<Registry>(&Env::from_pairs(pairs)).unwrap();
        config.service.announce = false;
        let shutdown = Shutdown::new(config.chassis.shutdown);
        let task = start::<Registry>(config, &shutdown).await.unwrap().task;
        Replica { shutdown, task }
    }

    /// An account with a key, as register would have written them.
    async fn account(&self, id: &str, key: &SecretKey, capabilities: &[&str]) {
        sqlx::query(
            "INSERT INTO agent_accounts (account_id, username, display_name, capabilities, created_at, updated_at) \
             VALUES ($1, $1, $1, $2, now(), now())",
        )
        .bind(id)
        .bind(json!(capabilities))
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query("INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, $2, now())")
            .bind(id)
            .bind(key.verifying().to_string())
            .execute(&self.pool)
            .await
            .unwrap();
    }

    async fn sql(&self, statement: &'static str, id: &str) {
        sqlx::query(statement).bind(id).execute(&self.pool).await.unwrap();
    }

    async fn connect(&self, key: &SecretKey, owner: &str) -> Result<Client, ConnectError> {
        ConnectOptions::with_nkey(key.expose_nkey_seed())
            .custom_inbox_prefix(inbox_prefix(owner))
            .connect(self.nats.url())
            .await
    }

    async fn is_refused(&self, key: &SecretKey) {
        let error = self.connect(key, ALICE).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation);
    }

    /// What replicas tell each other, said by the only one who may.
    async fn announce(&self, event: Value) {
        let client = ConnectOptions::with_nkey(self.seeds.registry.expose_secret().to_owned())
            .custom_inbox_prefix(REGISTRY_INBOX)
            .connect(self.nats.url())
            .await
            .unwrap();
        client.publish("agentnet.events.keys", event.to_string().into()).await.unwrap();
        client.flush().await.unwrap();
    }

    /// Whether nats-server takes the publish; a refusal makes the connection say so.
    async fn may_hear(&self, client: &Client, subject: &str, group: &str) -> bool {
        let mut subscription = client.queue_subscribe(subject.to_owned(), group.to_owned()).await.unwrap();
        // A round trip: the server knows the subscription, or has refused it.
        let _ = client.request(format!("registry.network.{ALICE}"), "{}".into()).await.unwrap();
        let sender = self.connect(&key(2), BOB).await.unwrap();
        sender.publish(subject.to_owned(), "x".into()).await.unwrap();
        // A round trip of the sender: what it published has been handed out by then.
        let _ = sender.request(format!("registry.network.{BOB}"), "{}".into()).await.unwrap();
        let _ = client.request(format!("registry.network.{ALICE}"), "{}".into()).await.unwrap();
        use futures_util::{FutureExt as _, StreamExt as _};
        subscription.next().now_or_never().is_some()
    }
}

async fn ask(client: &Client, subject: String) -> Value {
    let answer = tokio::time::timeout(PATIENCE, client.request(subject, "{}".into())).await.unwrap().unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test]
async fn keys_are_let_in_by_what_stands_in_postgres() {
    let world = World::new().await;
    let operator = key(3).verifying().to_nkey();
    let replica = world.replica(&[("AGENTNET_OPERATOR_KEYS", &operator)]).await;
    world.account(ALICE, &key(1), &["open", "restricted", "bad.name"]).await;
    world.account(BOB, &key(2), &[]).await;
    for statement in [
        "INSERT INTO agent_restricted_capabilities (capability, restricted_at) VALUES ('restricted', now())",
        "INSERT INTO agent_restricted_capabilities (capability, restricted_at) VALUES ('granted', now())",
    ] {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
    world
        .sql("INSERT INTO agent_capability_grants (capability, account_id, granted_at) VALUES ('granted', $1, now())", ALICE)
        .await;
    let alice = world.connect(&key(1), ALICE).await.unwrap();
    for (name, may) in [("open", true), ("granted", true), ("restricted", false), ("elsewhere", false)] {
        let (subject, group) = (format!("agent.capability.{name}"), format!("agentnet-capability-{name}"));
        assert_eq!(world.may_hear(&alice, &subject, &group).await, may, "{name}");
    }
    // Operators hear everybody's mail, others only their own.
    assert!(!world.may_hear(&alice, &format!("account.{BOB}.inbox"), "x").await);
    world.account("acct_01kahj000000000000000000cc", &key(3), &[]).await;
    let watcher = world.connect(&key(3), "acct_01kahj000000000000000000cc").await.unwrap();
    let mut inboxes = watcher.subscribe("account.*.inbox").await.unwrap();
    let _ = ask(&watcher, "registry.network.acct_01kahj000000000000000000cc".to_owned()).await;
    alice.publish(format!("account.{BOB}.inbox"), "hello".into()).await.unwrap();
    use futures_util::StreamExt as _;
    assert!(tokio::time::timeout(PATIENCE, inboxes.next()).await.unwrap().is_some());
    // Each key asks on its own nkey which account it has, and an unknown one is told that it has none.
    let own = key(1).verifying().to_nkey();
    let first = world.connect(&key(1), &own).await.unwrap();
    let told = ask(&first, format!("registry.network.{own}")).await;
    assert_eq!(told["account"]["account_id"], ALICE, "{told}");
    assert_eq!(
        (told["security"].as_str(), told["connection_seconds"].as_f64()),
        (Some("secure"), Some(3240.0))
    );
    let stranger = key(9).verifying().to_nkey();
    let unknown = world.connect(&key(9), &stranger).await.unwrap();
    let told = ask(&unknown, format!("registry.network.{stranger}")).await;
    assert!(told["account"].is_null() && told["deployment"] == "test", "{told}");
    // Every connection is noted.
    let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_connections WHERE account_id = $1")
        .bind(ALICE)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(noted, 2);
    // Ended keys and locked accounts stay outside.
    world.sql("UPDATE agent_accounts SET status = 'suspended' WHERE account_id = $1", BOB).await;
    world.is_refused(&key(2)).await;
    world.sql("UPDATE agent_accounts SET status = 'active' WHERE account_id = $1", BOB).await;
    world.connect(&key(2), BOB).await.unwrap();
    world
        .sql("UPDATE agent_keys SET revoked_at = now(), ended_as = 'revoked' WHERE account_id = $1", BOB)
        .await;
    world.is_refused(&key(2)).await;
    replica.stop().await;
}

#[tokio::test]
async fn every_replica_answers_and_those_inside_need_none() {
    let world = World::new().await;
    world.account(ALICE, &key(1), &[]).await;
    let first = world.replica(&[("REGISTRY_SERVER_ID", "a")]).await;
    let second = world.replica(&[("REGISTRY_SERVER_ID", "b")]).await;
    let inside = world.connect(&key(1), ALICE).await.unwrap();
    first.stop().await;
    world.connect(&key(1), ALICE).await.unwrap();
    let first = world.replica(&[("REGISTRY_SERVER_ID", "a")]).await;
    second.stop().await;
    world.connect(&key(1), ALICE).await.unwrap();
    first.stop().await;
    // Nobody answers: nobody new gets in, which takes the server its patience to say, and who is inside goes on.
    let asked = Instant::now();
    assert!(world.connect(&key(1), ALICE).await.is_err());
    assert!(asked.elapsed() > Duration::from_secs(1), "{:?}", asked.elapsed());
    use futures_util::StreamExt as _;
    let mut inbox = inside.subscribe(format!("account.{ALICE}.inbox")).await.unwrap();
    inside.publish(format!("account.{ALICE}.inbox"), "still here".into()).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().is_some());
}

#[tokio::test]
async fn connections_of_ended_keys_and_locked_accounts_end_in_under_a_second() {
    let world = World::new().await;
    world.account(ALICE, &key(1), &[]).await;
    world.account(BOB, &key(2), &[]).await;
    let replicas = [world.replica(&[]).await, world.replica(&[("REGISTRY_SERVER_ID", "b")]).await];
    let is_connected =
        |client: &Client| client.connection_state() == async_nats::connection::State::Connected;
    let (alice, bob) =
        (world.connect(&key(1), ALICE).await.unwrap(), world.connect(&key(2), BOB).await.unwrap());
    let lost = |client: Client| async move {
        let started = Instant::now();
        eventually(PATIENCE, || std::future::ready((!is_connected(&client)).then_some(()))).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    };
    world.sql("UPDATE agent_accounts SET status = 'suspended' WHERE account_id = $1", ALICE).await;
    world.announce(json!({"account_id": ALICE, "change": "suspended"})).await;
    lost(alice.clone()).await;
    assert!(is_connected(&bob), "somebody else's connection");
    world.is_refused(&key(1)).await;
    // A revoked key: only connections made with it.
    world
        .sql("UPDATE agent_keys SET revoked_at = now(), ended_as = 'rotated' WHERE account_id = $1", BOB)
        .await;
    sqlx::query("INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, $2, now())")
        .bind(BOB)
        .bind(key(4).verifying().to_string())
        .execute(&world.pool)
        .await
        .unwrap();
    let rotated = world.connect(&key(4), BOB).await.unwrap();
    let old = key(2).verifying().to_string();
    world.announce(json!({"account_id": BOB, "change": "rotated", "public_key": old})).await;
    lost(bob).await;
    assert!(is_connected(&rotated), "the new key's connection");
    // Let in again, the agent's own client comes back by itself.
    world.sql("UPDATE agent_accounts SET status = 'active' WHERE account_id = $1", ALICE).await;
    eventually(PATIENCE, || std::future::ready(is_connected(&alice).then_some(()))).await;
    for replica in replicas {
        replica.stop().await;
    }
}

/// A reply subject is the asker's to choose, and the registry may publish anywhere below `_INBOX.`: it answers nowhere but
/// below the asker's own prefix.
#[tokio::test]
async fn a_reply_subject_makes_the_registry_speak_to_nobody_else() {
    use futures_util::{FutureExt as _, StreamExt as _};
    let world = World::new().await;
    let replica = world.replica(&[]).await;
    world.account(ALICE, &key(1), &[]).await;
    world.account(BOB, &key(2), &[]).await;
    let (alice, bob) =
        (world.connect(&key(1), ALICE).await.unwrap(), world.connect(&key(2), BOB).await.unwrap());
    let mut inbox = bob.subscribe(format!("_INBOX.{BOB}.>")).await.unwrap();
    let mut mail = bob.subscribe(format!("account.{BOB}.>")).await.unwrap();
    let _ = ask(&bob, format!("registry.network.{BOB}")).await;
    let asked = format!("registry.network.{ALICE}");
    for elsewhere in [
        format!("_INBOX.{BOB}.x"),
        format!("account.{BOB}.inbox"),
        format!("account.{BOB}.stored"),
        "$JS.API.STREAM.DELETE.AGENTNET".to_owned(),
        "$SYS.REQ.SERVER.PING".to_owned(),
        format!("registry.list.{BOB}"),
        format!("_INBOX.{ALICE}"),
    ] {
        alice.publish_with_reply(asked.clone(), elsewhere, "{}".into()).await.unwrap();
    }
    // Answered in order: what came before has been dealt with.
    let told = ask(&alice, asked).await;
    assert_eq!(told["account"]["account_id"], ALICE, "{told}");
    let _ = ask(&bob, format!("registry.network.{BOB}")).await;
    assert!(inbox.next().now_or_never().is_none_or(|message| !message.unwrap().subject.ends_with(".x")));
    assert!(mail.next().now_or_never().is_none());
    replica.stop().await;
}
