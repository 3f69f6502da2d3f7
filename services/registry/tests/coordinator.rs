//! What the coordinator's routes rest on: a feed without gaps, posts for gateways only, a health score that is the same in SQL
//! and on paper.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use support::secure::{Asking, secure, texts};
use support::{PATIENCE, World};

async fn tell(connection: &mut PgConnection, kind: &str) {
    sqlx::query("INSERT INTO agent_feed (at, kind, body) VALUES (now(), $1, '{}')")
        .bind(kind)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_feed_never_gets_anything_earlier() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let read =
        async |after: &Value| world.call("feed", json!({"after": after, "kinds": ["a", "b", "c"]})).await;
    let start = world.call("feed", json!({})).await;
    assert_eq!(start["events"], json!([]));
    let mut slow = PgConnection::connect(world.db.url()).await.unwrap();
    let mut quick = PgConnection::connect(world.db.url()).await.unwrap();
    let mut open = slow.begin().await.unwrap();
    tell(&mut open, "a").await;
    tell(&mut quick, "b").await;
    // What is committed later is told later: behind one that is under way nothing is told yet.
    let early = read(&start["next"]).await;
    assert_eq!(early["events"], json!([]), "{early}");
    open.commit().await.unwrap();
    tell(&mut quick, "c").await;
    // Other tests' transactions on this server count, too.
    let late = std::sync::Mutex::new(Value::Null);
    eventually(PATIENCE, || async {
        let page = read(&early["next"]).await;
        let is_all = page["events"].as_array().is_some_and(|events| events.len() == 3);
        *late.lock().unwrap() = page;
        is_all
    })
    .await;
    let late = late.into_inner().unwrap();
    assert_eq!(texts(&late, "events", "kind"), ["a", "b", "c"]);
    // From any of them on, and from the end.
    let middle = read(&late["events"][0]["id"]).await;
    assert_eq!(texts(&middle, "events", "kind"), ["b", "c"]);
    assert_eq!(read(&late["next"]).await["events"], json!([]));
    let page =
        world.call("feed", json!({"after": start["next"], "kinds": ["a", "b", "c"], "limit": 2})).await;
    assert_eq!(
        (texts(&page, "events", "kind"), &page["more"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!(true))
    );
    assert_eq!(texts(&read(&page["next"]).await, "events", "kind"), ["c"]);
    assert_eq!(world.error("feed", json!({"after": "yesterday"})).await, "invalid_field");
    registry.stop().await;
}

#[tokio::test]
async fn only_gateways_post_and_only_operators_see_all_peers() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let a = Asking::new(&world, 'a').await;
    assert_eq!(a.error("webhook_claim", json!({})).await, "forbidden");
    assert_eq!(a.error("webhook_report", json!({"recipient": a.id, "message_id": "m"})).await, "forbidden");
    assert_eq!(a.error("peer_graph", json!({})).await, "forbidden");
    // Another one: what an account may is remembered for a moment.
    let b = Asking::new(&world, 'b').await;
    b.is_operator(&world).await;
    let all = b.call("peer_graph", json!({})).await;
    assert_eq!(all["connections"], json!({}), "{all}");
    registry.stop().await;
}

#[tokio::test]
async fn load_and_health_are_what_the_document_says() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let mut database = PgConnection::connect(world.db.url()).await.unwrap();
    for (metrics, load) in [
        (json!({}), 0.0),
        // What makes the original think that an agent is overloaded.
        (json!({"active_connections": 5, "pending_tasks": 2}), 0.035),
        (json!({"cpu_usage": 0.9, "memory_usage": 0.8}), 0.85),
        (json!({"cpu_usage": 90, "memory_usage": 0.8}), 0.85),
        (json!({"pending_tasks": 3, "capacity": 4}), 0.75),
        (json!({"pending_tasks": 1000}), 1.0),
        (json!({"cpu_load": -1}), 0.0),
    ] {
        let found: f64 = sqlx::query_scalar("SELECT agentnet_load($1)")
            .bind(&metrics)
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert!((found - load).abs() < 1e-9, "{metrics}: {found}");
    }
    for (status, load, age, health) in [
        ("active", 0.0, 0, 1.0),
        ("active", 0.61, 0, 0.9),
        ("busy", 0.81, 0, 0.6),
        ("maintenance", 0.0, 61, 0.6),
        ("error", 0.9, 121, 0.0),
        ("active", 0.8, 60, 0.9),
    ] {
        let found: f64 = sqlx::query_scalar(
            "SELECT agentnet_health_score($1, $2, now() - make_interval(secs => $3), now())",
        )
        .bind(status)
        .bind(load)
        .bind(f64::from(age))
        .fetch_one(&mut database)
        .await
        .unwrap();
        assert_eq!(found, health, "{status} {load} {age}");
    }
    for (reported, heartbeat, seen, status) in [
        ("busy", Some(59), None, "busy"),
        ("active", Some(61), None, "stale"),
        ("inactive", Some(61), None, "inactive"),
        ("active", Some(121), None, "inactive"),
        ("active", None, None, "inactive"),
        ("error", None, Some(5), "error"),
        ("active", None, Some(40), "stale"),
        ("active", Some(5), Some(40), "active"),
    ] {
        let found: String = sqlx::query_scalar(
            "SELECT agentnet_agent_status($1, now() - make_interval(secs => $2), now() - make_interval(secs => $3), now(), \
             interval '30 seconds')",
        )
        .bind(reported)
        .bind(heartbeat.map(f64::from))
        .bind(seen.map(f64::from))
        .fetch_one(&mut database)
        .await
        .unwrap();
        assert_eq!(found, status, "{reported} {heartbeat:?} {seen:?}");
    }
    registry.stop().await;
}
