//! The auth callout against a real nats-server: what a key may do is what the table says, and nobody gets in without.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod raw;
mod world;

use std::time::Duration;

use agentnet_local::testing::eventually;
use agentnet_proto::signature::SecretKey;
use agentnet_proto::subject::{PERSISTER_INBOX, inbox_prefix};
use agentnet_registry::callout::Service;
use async_nats::jetstream::{self, consumer::pull, stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use raw::Raw;
use world::{Known, World};

const SOON: Duration = Duration::from_secs(10);
const ALICE: &str = "acct_01kahj000000000000000000aa";
const BOB: &str = "acct_01kahj000000000000000000bb";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn agent(id: &str, capabilities: &[&str]) -> Known {
    Known::Agent { id: id.to_owned(), capabilities: capabilities.iter().map(|c| (*c).to_owned()).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_do_what_the_table_says_and_nothing_else() {
    let world = World::start([(key(1), agent(ALICE, &["weather"])), (key(2), agent(BOB, &[]))]).await;
    let mut alice = Raw::connect(&world.nats, &key(1)).await;
    for subject in [
        &format!("account.{BOB}.inbox"),
        &format!("account.{BOB}.receipts"),
        &format!("account.{BOB}.replies.x"),
        &format!("account.{BOB}.stream.x"),
        "agent.capability.anything",
        "agentnet.resend",
        &format!("registry.list.{ALICE}"),
        &format!("registry.hello.{ALICE}"),
        &format!("registry.network.{}", key(1).verifying().to_nkey()),
        &format!("registry.register.{}", key(1).verifying().to_nkey()),
    ] {
        alice.may_publish(subject).await;
    }
    for subject in [
        &format!("registry.list.{BOB}"),
        &format!("registry.register.{}", key(2).verifying().to_nkey()),
        &format!("registry.list.{}", key(1).verifying().to_nkey()),
        "registry.list",
        "registry.hello",
        &format!("account.{BOB}.stored"),
        &format!("account.{ALICE}.stored"),
        &format!("account.{BOB}.redelivery"),
        "agentnet.events.keys",
        "agentnet.events.presence",
        &format!("_INBOX.{BOB}.x"),
        "_INBOX_registry.x",
        "$SYS.REQ.SERVER.X.KICK",
        "$SYS.REQ.USER.AUTH",
        "$SYS._INBOX.x",
        "$SYS.REQ.SERVER.PING",
        "$JS.API.INFO",
        "$JS.API.STREAM.DELETE.AGENTNET",
        "$JS.API.CONSUMER.MSG.NEXT.AGENTNET.persister",
        "$JS.ACK.AGENTNET.persister.1.1.1.1.1",
        "anything",
    ] {
        alice.may_not_publish(subject).await;
    }
    for subject in [
        &format!("account.{ALICE}.inbox agentnet-account-{ALICE}"),
        &format!("account.{ALICE}.receipts"),
        &format!("account.{ALICE}.>"),
        &format!("_INBOX.{ALICE}.>"),
        &format!("_INBOX.{}.>", key(1).verifying().to_nkey()),
        "agentnet.events.keys",
        "agent.capability.weather agentnet-capability-weather",
    ] {
        alice.may_subscribe(subject).await;
    }
    for subject in [
        ">",
        "*",
        "*.>",
        "$SYS.>",
        "$SYS.REQ.USER.AUTH",
        "$JS.>",
        "$JS.API.>",
        "account.>",
        "account.*.inbox",
        "account.*.>",
        &format!("account.{BOB}.inbox"),
        &format!("account.{BOB}.inbox agentnet-account-{BOB}"),
        &format!("account.{BOB}.receipts"),
        &format!("account.{BOB}.replies.>"),
        "_INBOX.>",
        &format!("_INBOX.{BOB}.>"),
        "registry.>",
        "registry.list.*",
        &format!("registry.list.{ALICE}"),
        "agentnet.resend",
        "agentnet.events.>",
        "agentnet.events.presence",
        // A capability without its queue group, in another one, and one that isn't theirs.
        "agent.capability.weather",
        "agent.capability.weather mine",
        "agent.capability.* agentnet-capability-weather",
        "agent.capability.other agentnet-capability-other",
        "agent.>",
    ] {
        alice.may_not_subscribe(subject).await;
    }
    // Bob has no capability at all.
    let mut bob = Raw::connect(&world.nats, &key(2)).await;
    bob.may_not_subscribe("agent.capability.weather agentnet-capability-weather").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_watch_as_well() {
    let world = World::start([(key(1), Known::Operator { id: ALICE.to_owned() })]).await;
    let mut operator = Raw::connect(&world.nats, &key(1)).await;
    for subject in [
        "account.*.inbox",
        "account.*.receipts",
        "account.*.stream.*",
        "agent.capability.*",
        "agentnet.events.>",
    ] {
        operator.may_subscribe(subject).await;
    }
    for subject in [">", "account.>", "account.*.replies.*", "_INBOX.>", "registry.>", "$SYS.>", "$JS.>"] {
        operator.may_not_subscribe(subject).await;
    }
    operator.may_not_publish(&format!("registry.list.{BOB}")).await;
    operator.may_not_publish("$JS.API.INFO").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_may_only_register() {
    let world = World::start([(key(1), agent(ALICE, &[]))]).await;
    let (unknown, nkey) = (key(9), key(9).verifying().to_nkey());
    let mut raw = Raw::connect(&world.nats, &unknown).await;
    raw.may_publish(&format!("registry.register.{nkey}")).await;
    raw.may_publish(&format!("registry.network.{nkey}")).await;
    raw.may_subscribe(&format!("_INBOX.{nkey}.>")).await;
    for subject in [
        "registry.register",
        &format!("registry.register.{}", key(1).verifying().to_nkey()),
        &format!("registry.register.{ALICE}"),
        &format!("registry.list.{nkey}"),
        &format!("account.{ALICE}.inbox"),
        "agentnet.resend",
        "agent.capability.x",
        "$JS.API.INFO",
        "$SYS.REQ.USER.AUTH",
    ] {
        raw.may_not_publish(subject).await;
    }
    for subject in [
        ">",
        "account.>",
        "agentnet.events.keys",
        "_INBOX.>",
        &format!("_INBOX.{ALICE}.>"),
        "$SYS.>",
        "$JS.>",
    ] {
        raw.may_not_subscribe(subject).await;
    }
    // As the client library does it: ask, and hear the answer.
    let mut requests = world.client.subscribe("registry.register.*").await.unwrap();
    world.client.flush().await.unwrap();
    let client = world.connect(&unknown, &nkey).await.unwrap();
    let asked =
        tokio::spawn(async move { client.request(format!("registry.register.{nkey}"), "{}".into()).await });
    let request = tokio::time::timeout(SOON, requests.next()).await.unwrap().unwrap();
    world.client.publish(request.reply.unwrap(), "welcome".into()).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().payload, Bytes::from_static(b"welcome"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_proof() {
    let world = World::start([(key(1), agent(ALICE, &[]))]).await;
    let nkey = key(1).verifying().to_nkey();
    // The right key lets in, and its very words do not let in a second time.
    let mut first = Raw::open(&world.nats).await;
    let words = first.connect_line(&nkey, &key(1));
    assert_eq!(first.enter(&words).await, Ok(()));
    let mut second = Raw::open(&world.nats).await;
    assert_ne!(second.nonce(), first.nonce());
    let refused = second.enter(&words).await;
    assert_eq!(refused, Err("Authorization Violation".to_owned()), "a replayed connect");
    // Another's key, signed with one's own.
    let mut forged = Raw::open(&world.nats).await;
    let words = forged.connect_line(&nkey, &key(2));
    assert_eq!(forged.enter(&words).await, Err("Authorization Violation".to_owned()));
    for words in [
        "{}".to_owned(),
        r#"{"user":"registry","pass":"registry"}"#.to_owned(),
        r#"{"auth_token":"agentnet_secret_token"}"#.to_owned(),
        format!(r#"{{"nkey":"{nkey}"}}"#),
        format!(r#"{{"nkey":"{nkey}","sig":""}}"#),
        format!(r#"{{"nkey":"{}","sig":"AAAA"}}"#, world.registry_nkey()),
    ] {
        let mut raw = Raw::open(&world.nats).await;
        let refused = raw.enter(&words).await;
        assert_eq!(refused, Err("Authorization Violation".to_owned()), "{words}");
    }
    let reasons = world.reasons();
    assert!(reasons.iter().any(|reason| reason.contains("not signed by the key")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("no key presented")), "{reasons:?}");
    world.stop().await;
}

/// Without an nkey user in its configuration the server sends no nonce, and clients sign nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_no_nonce_is_refused() {
    let world = World::start_without_nonce([(key(1), agent(ALICE, &[]))]).await;
    let mut raw = Raw::open(&world.nats).await;
    assert_eq!(raw.nonce(), "");
    let words = raw.connect_line(&key(1).verifying().to_nkey(), &key(1));
    assert_eq!(raw.enter(&words).await, Err("Authorization Violation".to_owned()));
    assert!(world.reasons()[0].contains("no nonce"), "{:?}", world.reasons());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_ends() {
    let world = World::start_lasting(Duration::from_secs(1), [(key(1), agent(ALICE, &[]))]).await;
    let mut raw = Raw::connect(&world.nats, &key(1)).await;
    assert_eq!(raw.next_error(SOON).await, "User Authentication Expired");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_encrypted_and_name_the_connection() {
    let world = World::start([(key(1), agent(ALICE, &[]))]).await;
    let client = world.connect(&key(1), ALICE).await.unwrap();
    let seen = world.requests();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].sealed, "the server encrypts to our xkey");
    assert_eq!(seen[0].request.client_id, client.server_info().client_id);
    assert_eq!(seen[0].request.server_id, client.server_info().server_id);
    assert_eq!(seen[0].request.client_name, "test of the callout");
    world.stop().await;
}

/// The stream, its consumer, pulling and acknowledging: with exactly the persister's permissions.
#[tokio::test(flavor = "multi_thread")]
async fn the_persister_can_do_its_work() {
    let world =
        World::start([(key(1), Known::Service(Service::Persister)), (key(2), agent(ALICE, &[]))]).await;
    let persister = world.connect_with(&key(1), PERSISTER_INBOX.to_owned()).await.unwrap();
    let context = jetstream::new(persister.clone());
    let config = |max_bytes| stream::Config {
        name: "AGENTNET".to_owned(),
        subjects: vec!["account.*.inbox".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        no_ack: true,
        max_bytes,
        ..stream::Config::default()
    };
    assert!(context.get_stream("AGENTNET").await.is_err());
    let stream = context.create_stream(config(1 << 20)).await.unwrap();
    context.update_stream(config(2 << 20)).await.unwrap();
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("persister".to_owned()),
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let agent = world.connect(&key(2), ALICE).await.unwrap();
    agent.publish(format!("account.{BOB}.inbox"), "hello".into()).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let message = tokio::time::timeout(SOON, messages.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(message.payload, Bytes::from_static(b"hello"));
    message.ack().await.unwrap();
    let info = || async {
        let mut stream = context.get_stream("AGENTNET").await.ok()?;
        (stream.info().await.ok()?.state.messages == 0).then_some(())
    };
    eventually(SOON, info).await;
    persister.publish(format!("account.{ALICE}.stored"), "{}".into()).await.unwrap();
    // And nothing else.
    let mut raw = Raw::connect(&world.nats, &key(1)).await;
    for subject in [
        &format!("account.{ALICE}.inbox"),
        "$JS.API.STREAM.DELETE.AGENTNET",
        "$JS.API.STREAM.PURGE.AGENTNET",
        "$JS.API.CONSUMER.CREATE.AGENTNET.other",
        "$JS.API.CONSUMER.DELETE.AGENTNET.persister",
        "$SYS.REQ.USER.AUTH",
        "registry.list",
    ] {
        raw.may_not_publish(subject).await;
    }
    for subject in [">", "account.*.inbox", "_INBOX.>", "registry.>"] {
        raw.may_not_subscribe(subject).await;
    }
    world.stop().await;
}

/// The registry's own entry in the configuration is enough for all it does, the answers to the callout included.
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_lives_with_its_permissions() {
    let world = World::start([(key(1), agent(ALICE, &[]))]).await;
    let mut registry = Raw::connect(&world.nats, &world.registry).await;
    for subject in [
        &format!("{}.x", inbox_prefix(ALICE)),
        &format!("account.{ALICE}.stored"),
        &format!("account.{ALICE}.redelivery"),
        &format!("account.{ALICE}.inbox"),
        "agentnet.events.keys",
        "$JS.API.STREAM.INFO.AGENTNET",
    ] {
        registry.may_publish(subject).await;
    }
    for subject in
        [&format!("account.{ALICE}.receipts"), "$JS.API.STREAM.DELETE.AGENTNET", "$SYS.REQ.SERVER.PING"]
    {
        registry.may_not_publish(subject).await;
    }
    for subject in ["registry.*.* registry", "registry.hello.*", "agentnet.events.>", "_INBOX_registry.>"] {
        registry.may_subscribe(subject).await;
    }
    for subject in [">", "account.*.inbox", "_INBOX.>", "$SYS.>"] {
        registry.may_not_subscribe(subject).await;
    }
    // An agent asks and the registry answers, each with its own permissions.
    let mut requests = world.client.queue_subscribe("registry.*.*", "registry".to_owned()).await.unwrap();
    world.client.flush().await.unwrap();
    let agent = world.connect(&key(1), ALICE).await.unwrap();
    let asked =
        tokio::spawn(async move { agent.request(format!("registry.list.{ALICE}"), "{}".into()).await });
    let request = tokio::time::timeout(SOON, requests.next()).await.unwrap().unwrap();
    world.client.publish(request.reply.unwrap(), "[]".into()).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().payload, Bytes::from_static(b"[]"));
    world.stop().await;
}
