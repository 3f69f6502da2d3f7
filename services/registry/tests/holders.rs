//! Messages to whoever has a capability: a holder that won't take one leaves it to the others.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::World;
use support::agents::{Agent, QUICK, is_silent, joining, next, persister};

/// Somebody online who can sing, and whom the registry knows to.
async fn singer(world: &World, name: &str) -> Agent {
    let agent = world.agent(joining(name, Some("1.2"), &["sing"])).await;
    world.hello(&agent).await;
    agent
}

#[tokio::test]
async fn a_holder_that_blocks_the_sender_is_passed_over() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let (mut bob, mut carol) = (singer(&world, "bob").await, singer(&world, "carol").await);
    let alice = world.account("alice").await;
    world.call("block_add", json!({"account_id": bob.account, "target": alice})).await;
    // By chance half of them would go to each.
    for n in 0..8 {
        world.send(&format!("m{n}"), &alice, "capability:sing", json!({})).await;
    }
    world.holds("SELECT count(*) = 8 FROM agent_deliveries WHERE state = 'pending'").await;
    world.age(10.0).await;
    for _ in 0..8 {
        let (message, _) = next(&mut carol.redelivery).await;
        world.answer(&carol, &alice, &message, "processed", None).await;
    }
    world.holds("SELECT count(*) = 8 FROM agent_deliveries WHERE state = 'processed'").await;
    assert!(is_silent(&world, &mut bob.redelivery).await);
    registry.stop().await;
}

#[tokio::test]
async fn what_a_holder_refuses_for_itself_is_offered_to_another_and_then_waits_for_one() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut bob = singer(&world, "bob").await;
    world.send("m1", "alice", "capability:sing", json!({})).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries").await;
    world.age(10.0).await;
    let (message, _) = next(&mut bob.redelivery).await;
    world.answer(&bob, "alice", &message, "rejected", Some("no_handler")).await;
    world.holds("SELECT last_code = 'no_handler' AND state = 'pending' FROM agent_deliveries").await;
    // Time and again there is nobody to offer it to. It waits, and isn't asked about without end.
    world.age(70.0).await;
    world
        .holds("SELECT next_attempt_at > agentnet_stream_now() + interval '30 s' FROM agent_deliveries")
        .await;
    world.hello(&bob).await;
    assert!(is_silent(&world, &mut bob.redelivery).await);
    // Who comes takes it, long before the time is over.
    let mut carol = singer(&world, "carol").await;
    let (message, attempt) = next(&mut carol.redelivery).await;
    assert_eq!((message["message_id"].as_str().unwrap(), attempt), ("m1", 1));
    world.answer(&carol, "alice", &message, "processed", None).await;
    let row = world.delivery("m1", "processed").await;
    assert_eq!((&row["redeliveries"], &row["handler_account_id"]), (&json!(2), &json!(carol.account)));
    assert!(is_silent(&world, &mut bob.redelivery).await);
    registry.stop().await;
}

#[tokio::test]
async fn the_session_after_the_one_that_refused_is_asked_anew() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut first = singer(&world, "bob").await;
    world.send("m1", "alice", "capability:sing", json!({})).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries").await;
    world.age(10.0).await;
    let (message, _) = next(&mut first.redelivery).await;
    world.answer(&first, "alice", &message, "rejected", Some("no_handler")).await;
    world.holds("SELECT last_code = 'no_handler' FROM agent_deliveries").await;
    world.publish("goodbye", &json!({"agent_id": "bob", "session_tag": first.tag})).await;
    // Past the pause after a redelivery, in which nobody hurries.
    sqlx::query("UPDATE agent_deliveries SET redelivered_at = redelivered_at - interval '10 s'")
        .execute(&world.pool)
        .await
        .unwrap();
    let mut second = singer(&world, "bob").await;
    let (message, _) = next(&mut second.redelivery).await;
    world.answer(&second, "alice", &message, "processed", None).await;
    world.delivery("m1", "processed").await;
    registry.stop().await;
}

#[tokio::test]
async fn from_an_account_that_was_named_the_same_word_is_final() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut bob = singer(&world, "bob").await;
    let account = bob.account.clone();
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut bob.inbox).await;
    world.answer(&bob, "alice", &message, "rejected", Some("no_handler")).await;
    let row = world.delivery("m1", "rejected").await;
    assert_eq!(row["last_code"], "no_handler");
    world.age(Duration::from_secs(120).as_secs_f64()).await;
    world.hello(&bob).await;
    assert!(is_silent(&world, &mut bob.redelivery).await);
    registry.stop().await;
}
