//! What the network gives up, what it must not, and what operators see and do.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::net::SocketAddr;

use agentnet_local::testing::eventually;
use agentnet_proto::StoredNotice;
use serde_json::{Value, json};
use support::agents::{Agent, QUICK, is_silent, joining, next, next_message, persister};
use support::{PATIENCE, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Accepts and is lost.
async fn accept_and_vanish(world: &World, agent: &Agent, message: &Value) {
    world.answer(agent, "alice", message, "accepted", None).await;
    world.delivery(message["message_id"].as_str().unwrap(), "accepted").await;
    world.publish("goodbye", &json!({"agent_id": "bob", "session_tag": agent.tag})).await;
}

#[tokio::test]
async fn attempts_run_out_the_sender_is_told_and_a_redrive_starts_over() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&[QUICK[0], QUICK[1], ("AGENTNET_MAX_DELIVERIES", "3")]).await;
    let mut told = world.client.subscribe("account.alice.stored").await.unwrap();
    let mut receipts = world.client.subscribe("account.alice.receipts").await.unwrap();
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut agent.inbox).await;
    for attempt in 2..=3 {
        accept_and_vanish(&world, &agent, &message).await;
        next(&mut receipts).await;
        agent = world.agent(joining("bob", Some("1.2"), &[])).await;
        world.hello(&agent).await;
        assert_eq!(next(&mut agent.redelivery).await.1, attempt);
    }
    accept_and_vanish(&world, &agent, &message).await;
    next(&mut receipts).await;
    let dead = world.delivery("m1", "dead").await;
    assert_eq!((&dead["attempts"], &dead["last_code"]), (&json!(3), &json!("delivery_attempts_exhausted")));
    let failed = loop {
        let notice: StoredNotice = serde_json::from_slice(&next_message(&mut told).await.payload).unwrap();
        if let Some(failed) = notice.failed.first() {
            break failed.clone();
        }
    };
    assert_eq!((failed.message_id.as_str(), failed.state.as_str()), ("m1", "dead"));
    assert_eq!(failed.code, "delivery_attempts_exhausted");
    assert_eq!(failed.recipient.as_deref(), Some(account.as_str()));
    assert!(is_silent(&world, &mut receipts).await, "no recipient said that it is dead");
    // Whoever comes now doesn't get it any more.
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&agent).await;
    let letters = world.call("deliveries", json!({"state": "dead", "recipient": account})).await;
    assert_eq!(letters["deliveries"].as_array().unwrap().len(), 1);
    assert!(is_silent(&world, &mut agent.redelivery).await);
    let answer = world.call("redrive", json!({"recipient": account})).await;
    assert_eq!(answer["redriven"], json!([{"message_id": "m1", "recipient": account}]));
    let (message, attempt) = next(&mut agent.redelivery).await;
    assert_eq!(attempt, 1);
    world.answer(&agent, "alice", &message, "processed", None).await;
    world.delivery("m1", "processed").await;
    let again = world.call("redrive", json!({"all": true})).await;
    assert_eq!((&again["redriven"], &again["more"]), (&json!([]), &json!(false)));
    // The whole path, in order.
    let path = world.call("why", json!({"message_id": "m1"})).await;
    let events: Vec<(&str, i64)> = path["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["what"].as_str().unwrap(), e["attempt"].as_i64().unwrap_or(0)))
        .collect();
    let expected = [
        ("redelivered", 2),
        ("taken_back", 1),
        ("accepted", 0),
        ("redelivered", 3),
        ("taken_back", 2),
        ("accepted", 0),
        ("dead", 0),
        ("taken_back", 3),
        ("redriven", 0),
        ("redelivered", 1),
        ("processed", 0),
    ];
    assert_eq!(events, expected);
    assert_eq!(path["deliveries"][0]["redeliveries"], 3);
    registry.stop().await;
}

#[tokio::test]
async fn what_nobody_took_in_time_expires_and_the_sender_hears_of_it_once() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let (one, two) = (world.registry(&QUICK).await, world.registry(&QUICK).await);
    let mut told = world.client.subscribe("account.alice.stored").await.unwrap();
    let bob = world.account("bob").await;
    for id in ["m1", "m2", "m3"] {
        world.send(id, "alice", &bob, json!({"ttl_ms": 4_000})).await;
    }
    // A request that isn't redelivered ends too.
    world.send("m4", "alice", &bob, json!({"ttl_ms": 1_000, "kind": "request"})).await;
    let mut failed = Vec::new();
    while failed.len() < 4 {
        let notice: StoredNotice = serde_json::from_slice(&next_message(&mut told).await.payload).unwrap();
        failed.extend(notice.failed.into_iter().map(|f| (f.message_id, f.state, f.code)));
    }
    failed.sort();
    let expected =
        ["m1", "m2", "m3", "m4"].map(|id| (id.to_owned(), "expired".to_owned(), "expired".to_owned()));
    assert_eq!(failed, expected);
    world.holds("SELECT count(*) = 4 FROM agent_deliveries WHERE state = 'expired'").await;
    assert!(is_silent(&world, &mut told).await);
    assert_eq!(one.handle.redelivery().expired + two.handle.redelivery().expired, 4);
    // An operator may try it again all the same, with the whole time to live.
    assert_eq!(world.call("redrive", json!({"all": true})).await["redriven"], json!([]));
    let answer = world.call("redrive", json!({"message_id": "m2"})).await;
    assert_eq!(answer["redriven"][0]["message_id"], "m2");
    world
        .holds("SELECT expires_at > agentnet_stream_now() FROM agent_deliveries WHERE message_id = 'm2'")
        .await;
    for registry in [one, two] {
        registry.stop().await;
    }
}

#[tokio::test]
async fn what_a_living_session_is_at_does_not_expire() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({"ttl_ms": 30_000})).await;
    let (message, _) = next(&mut agent.inbox).await;
    world.answer(&agent, "alice", &message, "accepted", None).await;
    world.delivery("m1", "accepted").await;
    world.age(90.0).await;
    world.holds("SELECT lease_until > agentnet_stream_now() + interval '30 s' FROM agent_deliveries").await;
    world.delivery("m1", "accepted").await;
    world.publish("goodbye", &json!({"agent_id": "bob", "session_tag": agent.tag})).await;
    world.delivery("m1", "expired").await;
    // What it finished after all is the truth.
    world.answer(&agent, "alice", &message, "processed", None).await;
    world.delivery("m1", "processed").await;
    registry.stop().await;
}

#[tokio::test]
async fn a_restarted_registry_declares_nobody_dead_before_a_whole_ttl() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let first = world.registry(&QUICK).await;
    let mut busy = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = busy.account.clone();
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut busy.inbox).await;
    world.answer(&busy, "alice", &message, "accepted", None).await;
    world.delivery("m1", "accepted").await;
    first.kill();
    // Nobody wrote down that it is there, as after an outage of everything.
    sqlx::query("DELETE FROM agent_sessions").execute(&world.pool).await.unwrap();
    world.age(120.0).await;
    let second = world.registry(&[QUICK[0], QUICK[1], ("AGENT_TTL_SECONDS", "3")]).await;
    let mut other = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&other).await;
    // It asked, and left the message with its session for now.
    world.holds("SELECT lease_until > agentnet_stream_now() FROM agent_deliveries").await;
    assert!(is_silent(&world, &mut other.redelivery).await);
    assert_eq!(second.handle.redelivery().redelivered, 0);
    // After the TTL it is gone, and its message goes to the other.
    eventually(PATIENCE, || async {
        world.hello(&other).await;
        let due = "UPDATE agent_deliveries SET next_attempt_at = agentnet_stream_now(), \
                   lease_until = agentnet_stream_now() WHERE state = 'accepted'";
        sqlx::query(due).execute(&world.pool).await.unwrap();
        second.handle.redelivery().redelivered > 0
    })
    .await;
    assert_eq!(next(&mut other.redelivery).await.1, 2);
    second.stop().await;
}

#[tokio::test]
async fn a_stalled_postgres_does_not_make_two_sessions_handle_one_message() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let account = agent.account.clone();
    world.hello(&agent).await;
    world.send("m1", "alice", &account, json!({})).await;
    let (message, _) = next(&mut agent.inbox).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries WHERE state = 'pending'").await;
    // From here on the persister can't commit: what it has in hand needs this table.
    let mut blocker = world.pool.acquire().await.unwrap();
    for sql in ["BEGIN", "LOCK TABLE agent_quarantine IN EXCLUSIVE MODE"] {
        sqlx::query(sql).execute(&mut *blocker).await.unwrap();
    }
    world.client.publish(format!("account.{account}.inbox"), "garbage".into()).await.unwrap();
    world.answer(&agent, "alice", &message, "accepted", None).await;
    // Long past the time at which it would be delivered again, the registry sees a pending row; nothing happens.
    world
        .holds("SELECT agentnet_stream_now() > next_attempt_at + interval '2 s' AND state = 'pending' FROM agent_deliveries")
        .await;
    world.hello(&agent).await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    sqlx::query("COMMIT").execute(&mut *blocker).await.unwrap();
    world.delivery("m1", "accepted").await;
    world
        .holds("SELECT agentnet_committed_at() > next_attempt_at - interval '50 s' FROM agent_deliveries")
        .await;
    assert!(is_silent(&world, &mut agent.redelivery).await);
    assert_eq!(registry.handle.redelivery().redelivered, 0);
    registry.stop().await;
}

async fn ready(addr: SocketAddr) -> (bool, String) {
    let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    socket.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    (text.starts_with("HTTP/1.1 200"), text)
}

#[tokio::test]
async fn health_turns_red_when_somebody_who_is_there_is_not_reached() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&[QUICK[0], QUICK[1], ("AGENTNET_UNDELIVERED_LIMIT_SECONDS", "1")]).await;
    let bob = world.account("bob").await;
    world.send("m1", "alice", &bob, json!({})).await;
    world.holds("SELECT count(*) = 1 FROM agent_deliveries").await;
    world.age(60.0).await;
    // Nobody is there: that is no fault of the network.
    world.holds("SELECT parked FROM agent_deliveries").await;
    assert!(ready(registry.health).await.0);
    let mut agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&agent).await;
    let (message, _) = next(&mut agent.redelivery).await;
    let (_, text) =
        eventually(PATIENCE, || async { Some(ready(registry.health).await).filter(|(ok, _)| !ok) }).await;
    assert!(text.contains("has waited"), "{text}");
    world.answer(&agent, "alice", &message, "processed", None).await;
    eventually(PATIENCE, || async { ready(registry.health).await.0 }).await;
    registry.stop().await;
}

#[tokio::test]
async fn deliveries_are_found_by_message_thread_account_and_state_in_pages() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let (bob, carol) = (world.account("bob").await, world.account("carol").await);
    for n in 0..7 {
        let (to, thread) = if n % 2 == 0 { (&bob, "even") } else { (&carol, "odd") };
        let sent_at = format!("2026-02-21T08:00:0{n}Z");
        world.send(&format!("m{n}"), "alice", to, json!({"thread_id": thread, "sent_at": sent_at})).await;
    }
    world.holds("SELECT count(*) = 7 FROM agent_deliveries").await;
    let ids = |answer: &Value| -> Vec<String> {
        let rows = answer["deliveries"].as_array().unwrap_or_else(|| panic!("{answer}"));
        rows.iter().map(|row| row["message_id"].as_str().unwrap().to_owned()).collect()
    };
    let found = async |filter: Value| ids(&world.call("deliveries", filter).await);
    assert_eq!(found(json!({"thread_id": "odd"})).await, ["m5", "m3", "m1"]);
    assert_eq!(found(json!({"recipient": bob})).await, ["m6", "m4", "m2", "m0"]);
    assert_eq!(found(json!({"recipient": bob, "state": "pending"})).await, ["m6", "m4", "m2", "m0"]);
    assert_eq!(found(json!({"sender_account_id": "alice", "thread_id": "odd", "limit": 1})).await, ["m5"]);
    assert_eq!(found(json!({"state": "processed"})).await, [""; 0]);
    assert_eq!(found(json!({"message_id": "m3", "state": "PENDING"})).await, ["m3"]);
    let (mut pages, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let page = world.call("deliveries", json!({"limit": 3, "cursor": cursor})).await;
        pages.push(ids(&page));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(pages, [vec!["m6", "m5", "m4"], vec!["m3", "m2", "m1"], vec!["m0"]]);
    for (method, bad, code) in [
        ("deliveries", json!({"state": "lost"}), "invalid_field"),
        ("deliveries", json!({"recipient": "a\0b"}), "invalid_field"),
        ("redrive", json!({}), "invalid_field"),
        ("redrive", json!({"all": false}), "invalid_field"),
        ("why", json!({}), "invalid_field"),
        ("why", json!({"message_id": "nobody's"}), "not_found"),
    ] {
        assert_eq!(world.error(method, bad.clone()).await, code, "{method} {bad}");
    }
    registry.stop().await;
}
