//! Delivering again: to those who come, in order, in windows, once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use agentnet_local::testing::eventually;
use serde_json::json;
use support::agents::{QUICK, is_silent, joining, next, next_message, persister};
use support::{PATIENCE, World};

#[tokio::test]
async fn who_comes_gets_what_waited_in_order_and_byte_for_byte() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let bob = world.account("bob").await;
    let mut bodies = Vec::new();
    for n in 0..20 {
        bodies.push(world.send(&format!("m{n:02}"), "alice", &bob, json!({})).await);
    }
    world.holds("SELECT count(*) = 20 FROM agent_deliveries WHERE state = 'pending'").await;
    world.age(10.0).await;
    // Nobody is there: they wait, and that is no attempt.
    world.holds("SELECT count(*) = 20 FROM agent_deliveries WHERE parked").await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&agent).await;
    for body in &bodies {
        let message = next_message(&mut agent.redelivery).await;
        assert_eq!(message.payload, body);
        let attempt = message.headers.as_ref().unwrap().get("Agentnet-Attempt").unwrap();
        assert_eq!(attempt.as_str(), "1");
        let message = serde_json::from_slice(&message.payload).unwrap();
        world.answer(&agent, "alice", &message, "processed", None).await;
    }
    world.holds("SELECT count(*) = 20 FROM agent_deliveries WHERE state = 'processed'").await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    assert!(is_silent(&world, &mut agent.inbox).await);
    assert_eq!(registry.handle.redelivery().redelivered, 20);
    registry.stop().await;
}

#[tokio::test]
async fn live_receipts_win_over_a_hello() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut agent.inbox).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries WHERE state = 'pending'").await;
    // Says hello while it is about to accept.
    world.hello(&agent).await;
    world.answer(&agent, "alice", &message, "accepted", None).await;
    world.delivery("m1", "accepted").await;
    // Well past the wait for live receipts: it is its session's now.
    world.age(30.0).await;
    world.hello(&agent).await;
    world.holds("SELECT agentnet_committed_at() > created_at + interval '34 s' FROM agent_deliveries").await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    registry.stop().await;
}

#[tokio::test]
async fn what_a_lost_session_had_accepted_goes_to_another_as_the_next_attempt() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&[QUICK[0], QUICK[1], ("AGENT_TTL_SECONDS", "2")]).await;
    let mut first = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = first.account.clone();
    for id in ["m1", "m2"] {
        world.send(id, "alice", &account, json!({})).await;
        let (message, _) = next(&mut first.inbox).await;
        world.answer(&first, "alice", &message, "accepted", None).await;
        world.delivery(id, "accepted").await;
    }
    let mut second = world.agent(joining("bob", Some("1.2"), &[])).await;
    assert_eq!(second.account, account);
    world.hello(&second).await;
    // One says goodbye, and before its lease is over the other one gets its work.
    world.publish("goodbye", &json!({"agent_id": "bob", "session_tag": first.tag})).await;
    for _ in 0..2 {
        let (message, attempt) = next(&mut second.redelivery).await;
        assert_eq!(attempt, 2);
        world.answer(&second, "alice", &message, "accepted", None).await;
    }
    world.holds("SELECT count(*) = 2 FROM agent_deliveries WHERE state = 'accepted' AND attempts = 1").await;
    // The other one falls silent; a third comes.
    let mut third = world.agent(joining("bob", Some("1.2"), &[])).await;
    eventually(PATIENCE, || async {
        world.hello(&third).await;
        registry.handle.sessions() == 1
    })
    .await;
    for _ in 0..2 {
        let (message, attempt) = next(&mut third.redelivery).await;
        assert_eq!(attempt, 3);
        world.answer(&third, "alice", &message, "processed", None).await;
    }
    world.holds("SELECT count(*) = 2 FROM agent_deliveries WHERE state = 'processed'").await;
    registry.stop().await;
}

#[tokio::test]
async fn a_session_at_work_keeps_its_message_when_its_last_receipt_is_lost() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut agent.inbox).await;
    world.answer(&agent, "alice", &message, "accepted", None).await;
    world.delivery("m1", "accepted").await;
    // Its lease runs out, and it is still there: its lease is renewed.
    world.age(120.0).await;
    world.holds("SELECT lease_until > agentnet_stream_now() + interval '30 s' FROM agent_deliveries").await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    let row = world.delivery("m1", "accepted").await;
    assert_eq!((&row["attempts"], &row["redeliveries"]), (&json!(0), &json!(0)));
    registry.stop().await;
}

#[tokio::test]
async fn a_lost_answer_to_a_redelivery_is_asked_for_again() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({})).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries").await;
    world.age(5.0).await;
    assert_eq!(next(&mut agent.redelivery).await.1, 1);
    // Neither accepted nor processed came through; still no attempt is counted.
    world.age(6.0).await;
    let (message, attempt) = next(&mut agent.redelivery).await;
    assert_eq!(attempt, 1);
    world.answer(&agent, "alice", &message, "processed", None).await;
    assert_eq!(world.delivery("m1", "processed").await["redeliveries"], 2);
    registry.stop().await;
}

#[tokio::test]
async fn held_back_counts_no_attempt_and_a_hello_out_of_time_ends_the_wait() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({})).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries").await;
    world.age(300.0).await;
    let (message, _) = next(&mut agent.redelivery).await;
    world.answer(&agent, "alice", &message, "rejected", Some("shutting_down")).await;
    world.holds("SELECT last_code = 'shutting_down' AND next_attempt_at > agentnet_stream_now() + interval '50 s' FROM agent_deliveries").await;
    sqlx::query("UPDATE agent_deliveries SET redelivered_at = redelivered_at - interval '10 s'")
        .execute(&world.pool)
        .await
        .unwrap();
    // It has lost its connection for a moment and is back: long before its next heartbeat.
    let back = Instant::now();
    world.hello(&agent).await;
    let (message, attempt) = next(&mut agent.redelivery).await;
    assert!(back.elapsed() < Duration::from_secs(10));
    assert_eq!(attempt, 1);
    world.answer(&agent, "alice", &message, "processed", None).await;
    assert_eq!(world.delivery("m1", "processed").await["attempts"], 0);
    registry.stop().await;
}

#[tokio::test]
async fn sessions_of_older_versions_get_them_slowly_and_only_without_a_newer_one() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let bob = world.account("bob").await;
    for n in 0..12 {
        let sender = if n % 2 == 0 { "alice" } else { "carol" };
        world.send(&format!("m{n:02}"), sender, &bob, json!({})).await;
    }
    world.holds("SELECT count(*) = 12 FROM agent_deliveries WHERE state = 'pending'").await;
    world.age(10.0).await;
    let mut old = world.agent(joining("bob", None, &[])).await;
    world.hello(&old).await;
    let started = Instant::now();
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for _ in 0..8 {
        let (message, _) = next(&mut old.inbox).await;
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        seen.entry(text("from_account_id")).or_default().push(text("message_id"));
        world.answer(&old, &text("from_account_id"), &message, "rejected", Some("duplicate")).await;
    }
    // Four from each of two senders: the first at once, then one every 250 ms.
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(seen.values().all(|ids| ids.is_sorted()), "{seen:?}");
    assert!(is_silent(&world, &mut old.redelivery).await);
    // `duplicate` counts as accepted.
    world.delivery("m00", "accepted").await;
    let mut new = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&new).await;
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let (message, _) = next(&mut new.redelivery).await;
        world.answer(&new, message["from_account_id"].as_str().unwrap(), &message, "processed", None).await;
        rest.push(message["message_id"].as_str().unwrap().to_owned());
    }
    registry.stop().await;
}

#[tokio::test]
async fn a_capabilitys_messages_wait_for_somebody_who_has_it() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &["paint"])).await;
    world.hello(&agent).await;
    for id in ["m1", "m2"] {
        world.send(id, "alice", "capability:sing", json!({})).await;
    }
    world.holds("SELECT count(*) = 2 FROM agent_deliveries WHERE recipient = 'capability:sing'").await;
    world.age(10.0).await;
    world.holds("SELECT count(*) = 2 FROM agent_deliveries WHERE parked").await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    // It learns to.
    agent.hello["capabilities"] = json!(["paint", "sing"]);
    world.hello(&agent).await;
    for id in ["m1", "m2"] {
        let (message, _) = next(&mut agent.redelivery).await;
        assert_eq!(message["message_id"], id);
        world.answer(&agent, "alice", &message, "processed", None).await;
    }
    assert_eq!(world.delivery("m2", "processed").await["recipient"], "capability:sing");
    registry.stop().await;
}

#[tokio::test]
async fn replies_and_requests_that_nobody_waits_for_are_left_alone() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let bob = world.account("bob").await;
    world.send("reply", "alice", &bob, json!({"kind": "reply", "parent_message_id": "x"})).await;
    world.send("error", "alice", &bob, json!({"kind": "error", "parent_message_id": "x"})).await;
    world.send("request", "alice", &bob, json!({"kind": "request"})).await;
    world
        .send("asked", "alice", &bob, json!({"kind": "request", "reply_to": "account.alice.replies.x"}))
        .await;
    world.holds("SELECT count(*) = 4 FROM agent_messages").await;
    world.age(10.0).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&agent).await;
    let (message, _) = next(&mut agent.redelivery).await;
    assert_eq!(message["message_id"], "asked");
    world.answer(&agent, "alice", &message, "processed", None).await;
    world.delivery("asked", "processed").await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    registry.stop().await;
}

#[tokio::test]
async fn two_registries_share_the_work_without_doubles() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let (one, two) = (world.registry(&QUICK).await, world.registry(&QUICK).await);
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut agents = Vec::new();
    for name in names {
        agents.push(world.agent(joining(name, Some("1.2"), &[])).await);
    }
    for agent in &agents {
        for n in 0..100 {
            world.send(&format!("{}_{n:03}", agent.tag), "alice", &agent.account, json!({})).await;
        }
    }
    world.holds("SELECT count(*) = 600 FROM agent_deliveries WHERE state = 'pending'").await;
    world.age(4.0).await;
    for agent in &agents {
        world.hello(agent).await;
    }
    for agent in &mut agents {
        for n in 0..100 {
            let (message, _) = next(&mut agent.redelivery).await;
            assert_eq!(message["message_id"], format!("{}_{n:03}", agent.tag));
            world.answer(agent, "alice", &message, "processed", None).await;
        }
    }
    world.holds("SELECT count(*) = 600 FROM agent_deliveries WHERE state = 'processed'").await;
    world.holds("SELECT max(redeliveries) = 1 AND min(redeliveries) = 1 FROM agent_deliveries").await;
    let done = (one.handle.redelivery().redelivered, two.handle.redelivery().redelivered);
    assert_eq!(done.0 + done.1, 600, "{done:?}");
    for registry in [one, two] {
        registry.stop().await;
    }
}

/// Ten thousand messages for one agent: each once, in order, never more than the window at a time.
#[tokio::test]
async fn a_long_backlog_drains_within_the_window() {
    const MESSAGES: usize = 10_000;
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let bob = world.account("bob").await;
    for n in 0..MESSAGES {
        let envelope = json!({
            "message_id": format!("m{n:05}"), "from_agent": "alice", "from_account_id": "alice", "to_agent": bob,
            "to_account_id": bob, "payload": {"text": "x"}, "sent_at": "2026-01-01T00:00:00Z", "ttl_ms": 600_000,
            "thread_id": "t1", "schema_version": "1.2",
        });
        world.client.publish(format!("account.{bob}.inbox"), envelope.to_string().into()).await.unwrap();
    }
    eventually(Duration::from_secs(60), || async {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM agent_deliveries WHERE state = 'pending'")
            .fetch_one(&world.pool)
            .await
            .unwrap()
            == MESSAGES as i64
    })
    .await;
    world.age(10.0).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let started = Instant::now();
    world.hello(&agent).await;
    let mut in_hand = Vec::new();
    let mut most = 0;
    for n in 0..MESSAGES {
        let (message, _) = match in_hand.len() {
            // Works off what it has when nothing more comes at once.
            0 => next(&mut agent.redelivery).await,
            _ => match tokio::time::timeout(Duration::from_millis(2), next(&mut agent.redelivery)).await {
                Ok(message) => message,
                Err(_) => {
                    for message in in_hand.drain(..) {
                        answer_unflushed(&world, &agent.account, &agent.tag, &message).await;
                    }
                    next(&mut agent.redelivery).await
                }
            },
        };
        assert_eq!(message["message_id"], format!("m{n:05}"));
        in_hand.push(message);
        most = most.max(in_hand.len());
    }
    for message in in_hand.drain(..) {
        answer_unflushed(&world, &agent.account, &agent.tag, &message).await;
    }
    let took = started.elapsed();
    world.holds("SELECT count(*) = 10000 FROM agent_deliveries WHERE state = 'processed'").await;
    assert!(most <= 64, "{most} in hand");
    assert_eq!(registry.handle.redelivery().redelivered, MESSAGES as u64);
    println!("{MESSAGES} messages in {took:?}, {:.0} a second", MESSAGES as f64 / took.as_secs_f64());
    registry.stop().await;
}

async fn answer_unflushed(world: &World, account: &str, tag: &str, message: &serde_json::Value) {
    let receipt = json!({
        "message_id": message["message_id"], "status": "processed", "event_at": "2026-01-01T00:00:00Z",
        "from_account_id": account, "from_session_tag": tag, "to_account_id": "alice", "to_agent": account,
        "schema_version": "1.2",
    });
    world.client.publish("account.alice.receipts", receipt.to_string().into()).await.unwrap();
}

/// A backlog that was refused for a minute must not wait for another minute once there is room.
#[tokio::test]
async fn who_has_room_again_gets_what_it_held_back_before_its_pause_is_over() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    for id in ["m1", "m2", "m3"] {
        world.send(id, "alice", &account, json!({})).await;
        let (message, _) = next(&mut agent.inbox).await;
        world.answer(&agent, "alice", &message, "rejected", Some("busy")).await;
    }
    world.holds("SELECT count(*) = 3 FROM agent_deliveries WHERE last_code = 'busy'").await;
    // Two were refused long ago and have a long pause before them, one was just now.
    sqlx::query(
        "UPDATE agent_deliveries SET created_at = created_at - interval '50 s', receipt_at = receipt_at - interval '10 s', \
         next_attempt_at = next_attempt_at + interval '40 s' WHERE message_id <> 'm3'",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let started = Instant::now();
    for id in ["m3", "m1", "m2"] {
        let (message, attempt) = next(&mut agent.redelivery).await;
        assert_eq!((message["message_id"].as_str().unwrap(), attempt), (id, 1));
        world.answer(&agent, "alice", &message, "processed", None).await;
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    registry.stop().await;
}
