//! Replicas, restarts, silence, and servers that go away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use std::time::{Duration, Instant};

use agentnet_local::testing::{TestDb, TestNats, eventually};
use agentnet_local::{PgOptions, PostgresServer, StopMode};
use serde_json::{Value, json};
use support::{PATIENCE, Running, World, connect};

async fn status_of(pool: &sqlx::PgPool, tag: &str) -> String {
    sqlx::query_scalar("SELECT status FROM agent_sessions WHERE session_tag = $1")
        .bind(tag)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn replicas_see_each_others_sessions() {
    let world = World::new().await;
    let a = world.registry(&[("REGISTRY_SERVER_ID", "a")]).await;
    let b = world.registry(&[("REGISTRY_SERVER_ID", "b")]).await;
    let mut events = world.client.subscribe("agentnet.events.presence").await.unwrap();
    let mut tags = Vec::new();
    for n in 0..10 {
        let answer = world.register(json!({"agent_id": format!("s{n}")})).await;
        tags.push(answer["session_tag"].as_str().unwrap().to_owned());
    }
    // Both answered, and both have all.
    assert!(tags.iter().any(|t| t.starts_with("a_")) && tags.iter().any(|t| t.starts_with("b_")), "{tags:?}");
    eventually(PATIENCE, || async { a.handle.sessions() == 10 && b.handle.sessions() == 10 }).await;
    let profile = eventually(PATIENCE, || async {
        let answer = world.call("profile", json!({"username": "s0"})).await;
        (answer["profile"]["online"] == true).then_some(answer)
    })
    .await;
    let server = tags[0].split('_').next().unwrap();
    assert_eq!(profile["profile"]["online_sessions"][0]["server_id"], server);

    world.publish("goodbye", &json!({"agent_id": "s0", "session_tag": tags[0]})).await;
    eventually(PATIENCE, || async { a.handle.sessions() == 9 && b.handle.sessions() == 9 }).await;
    eventually(PATIENCE, || async { status_of(&world.pool, &tags[0]).await == "offline" }).await;
    // Ten came, one went, each announced once.
    let mut seen = Vec::new();
    use futures_util::StreamExt as _;
    while seen.len() < 11 {
        let event =
            tokio::time::timeout(PATIENCE, events.next()).await.expect("an event is missing").unwrap();
        seen.push(serde_json::from_slice::<Value>(&event.payload).unwrap());
    }
    assert_eq!(seen.iter().filter(|e| e["event"] == "online").count(), 10);
    let gone = seen.last().unwrap();
    assert_eq!(
        (&gone["event"], &gone["reason"], &gone["session_tag"]),
        (&json!("offline"), &json!("goodbye"), &json!(tags[0]))
    );

    // Renaming is seen through both caches.
    let id = world.call("resolve_account", json!({"username": "s1"})).await["account_id"].clone();
    world.register(json!({"agent_id": "s1", "account_id": id, "username": "renamed"})).await;
    eventually(PATIENCE, || async {
        for _ in 0..10 {
            if world.call("resolve_account", json!({"username": "s1"})).await["error"] != "not_found" {
                return false;
            }
        }
        true
    })
    .await;

    // One stops: the other goes on.
    a.stop().await;
    assert_eq!(world.listed().await.len(), 10);
    b.stop().await;
}

#[tokio::test]
async fn silence_ends_a_session_but_only_after_a_full_ttl() {
    let world = World::new().await;
    let settings = [
        ("AGENT_TTL_SECONDS", "1.5"),
        ("HEARTBEAT_INTERVAL_SECONDS", "0.3"),
        ("GC_INTERVAL_SECONDS", "0.1"),
        ("AGENTNET_PRESENCE_FLUSH_SECONDS", "0.1"),
    ];
    let first = world.registry(&settings).await;
    let silent =
        world.register(json!({"agent_id": "silent"})).await["session_tag"].as_str().unwrap().to_owned();
    let alive =
        world.register(json!({"agent_id": "alive"})).await["session_tag"].as_str().unwrap().to_owned();
    let client = world.client.clone();
    let hello = json!({"agent_id": "alive", "session_tag": alive}).to_string();
    let beating = tokio::spawn(async move {
        let mut beats = tokio::time::interval(Duration::from_millis(200));
        loop {
            beats.tick().await;
            client.publish("registry.hello", hello.clone().into()).await.unwrap();
        }
    });
    // A session that is quiet for more than two heartbeats is late, and still there.
    eventually(PATIENCE, || async {
        let late = world.call("list", json!({"status": "late"})).await;
        late["agents"].as_array().unwrap().iter().any(|agent| agent["session_tag"] == json!(silent))
    })
    .await;
    eventually(PATIENCE, || async { world.listed().await == [alive.clone()] }).await;
    eventually(PATIENCE, || async { status_of(&world.pool, &silent).await == "offline" }).await;
    assert_eq!(status_of(&world.pool, &alive).await, "online");

    // A crash and a restart: whoever was online still is, before its next hello.
    beating.abort();
    first.kill();
    let before = Instant::now();
    let second = world.registry(&settings).await;
    assert_eq!(world.listed().await, std::slice::from_ref(&alive));
    // And nobody is declared dead before a full TTL has passed.
    eventually(PATIENCE, || async { status_of(&world.pool, &alive).await == "offline" }).await;
    assert!(before.elapsed() >= Duration::from_millis(1500), "{:?}", before.elapsed());
    assert!(world.listed().await.is_empty());
    second.stop().await;
}

#[tokio::test]
async fn sessions_left_online_by_a_crash_are_corrected() {
    let world = World::new().await;
    sqlx::query(
        "INSERT INTO agent_sessions (session_tag, agent_id, account_id, username, server_id, connected_at, last_seen, status) \
         VALUES ('old_1', 'left', 'acct_l', 'left', 'old', now() - interval '1 day', now() - interval '1 day', 'online')",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at) \
         VALUES ('acct_l', 'left', 'Left', now(), now())",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let registry = world.registry(&[("AGENT_TTL_SECONDS", "1"), ("GC_INTERVAL_SECONDS", "0.1")]).await;
    // At once for whoever asks, and in the row once it may be judged.
    assert!(world.listed().await.is_empty());
    assert_eq!(world.call("search", json!({"online_only": true})).await["results"], json!([]));
    assert_eq!(world.call("profile", json!({"username": "left"})).await["profile"]["online"], false);
    eventually(PATIENCE, || async { status_of(&world.pool, "old_1").await == "offline" }).await;
    registry.stop().await;
}

#[tokio::test]
async fn nats_going_away_kills_no_session() {
    let world = World::new().await;
    let settings = [
        ("AGENT_TTL_SECONDS", "1"),
        ("GC_INTERVAL_SECONDS", "0.1"),
        ("AGENTNET_PRESENCE_FLUSH_SECONDS", "0.1"),
    ];
    let registry = world.registry(&settings).await;
    let tag =
        world.register(json!({"agent_id": "patient"})).await["session_tag"].as_str().unwrap().to_owned();
    world.nats.kill();
    let ready = || async { get_status(&registry, "/ready").await };
    eventually(PATIENCE, || async { ready().await == 503 }).await;
    // Two TTLs without anybody being able to say anything.
    let down = Instant::now();
    eventually(PATIENCE, || async { down.elapsed() > Duration::from_secs(2) }).await;
    assert_eq!(registry.handle.sessions(), 1);
    assert_eq!(status_of(&world.pool, &tag).await, "online");
    world.nats.restart().unwrap();
    eventually(PATIENCE, || async { ready().await == 200 }).await;
    assert_eq!(registry.handle.sessions(), 1);
    let client = connect(&world.nats.url()).await;
    let list = support::call(&client, "list", "{}").await;
    assert_eq!(list["agents"][0]["session_tag"], json!(tag));
    // Silence counts again now.
    eventually(PATIENCE, || async { registry.handle.sessions() == 0 }).await;
    registry.stop().await;
}

/// The status of a GET, over a plain socket.
async fn get_status(registry: &Running, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(registry.health).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap()
}

#[tokio::test]
async fn postgres_going_away_is_answered_and_survived() {
    let nats = TestNats::start();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    // Postgres runs as another user when we are root, who must get there.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut options = PgOptions::new(dir.path().join("pg"), "pw".to_owned().into());
    options.ephemeral = true;
    let postgres = PostgresServer::start(options).unwrap();
    let url = postgres.url("postgres");
    let registry = Running::start(&nats.url(), &url, &[]).await;
    let client = connect(&nats.url()).await;
    let call = async |method: &str, body: Value| support::call(&client, method, &body.to_string()).await;
    let tag = call("register", json!({"agent_id": "one"})).await["session_tag"].clone();
    postgres.stop(StopMode::Immediate);
    let failing = [
        ("register", json!({"agent_id": "two"}), "failed resolving account identity"),
        ("search", json!({}), "search_failed"),
        ("profile", json!({"username": "nobody"}), "profile_failed"),
        ("resolve_account", json!({"username": "nobody"}), "resolve_failed"),
        ("resolve_key", json!({"account_id": "acct_x"}), "resolve_failed"),
        ("thread_list", json!({}), "thread_list_failed"),
        ("thread_status", json!({"thread_id": "t"}), "thread_status_failed"),
        ("thread_messages", json!({"thread_id": "t"}), "thread_messages_failed"),
        ("message_search", json!({}), "message_search_failed"),
    ];
    for (method, body, expected) in &failing {
        let asked = Instant::now();
        let answer = call(method, body.clone()).await;
        assert_eq!((&answer["error"], &answer["retryable"]), (&json!(expected), &json!(true)), "{method}");
        let limit = if *method == "register" { 4500 } else { 1950 };
        assert!(asked.elapsed() < Duration::from_millis(limit), "{method}: {:?}", asked.elapsed());
    }
    // Presence goes on without it.
    let hello =
        json!({"agent_id": "three", "session_tag": "t3", "account_id": "acct_3", "username": "three"});
    client.publish("registry.hello", hello.to_string().into()).await.unwrap();
    eventually(PATIENCE, || async { registry.handle.sessions() == 2 }).await;
    assert!(!registry.handle.flush().await);
    assert_eq!(get_status(&registry, "/ready").await, 503);
    assert_eq!(get_status(&registry, "/live").await, 200);

    postgres.restart().unwrap();
    eventually(PATIENCE, || async {
        call("register", json!({"agent_id": "two"})).await.get("error").is_none()
    })
    .await;
    // What was heard meanwhile is written afterwards.
    eventually(PATIENCE, || async { registry.handle.flush().await }).await;
    let search = call("search", json!({"online_only": true})).await;
    assert_eq!(search["results"].as_array().unwrap().len(), 2);
    assert_eq!(call("list", json!({})).await["agents"].as_array().unwrap().len(), 3);
    let goodbye = json!({"agent_id": "one", "session_tag": tag});
    client.publish("registry.goodbye", goodbye.to_string().into()).await.unwrap();
    eventually(PATIENCE, || async { registry.handle.sessions() == 2 }).await;
    registry.stop().await;
}

#[tokio::test]
async fn what_is_old_is_pruned_by_any_number_of_replicas() {
    let world = World::new().await;
    let a = world.registry(&[("GC_INTERVAL_SECONDS", "3600")]).await;
    let b = world.registry(&[("GC_INTERVAL_SECONDS", "3600")]).await;
    for (id, at) in [("old", "2020-01-01T00:00:00Z"), ("kept", "2999-01-01T00:00:00Z")] {
        support::rows::thread(&world.pool, id, &["acct_a"], Some(at)).await;
        for n in 0..3 {
            support::rows::message(&world.pool, &format!("{id}{n}"), id, at, json!({})).await;
        }
    }
    support::rows::thread(&world.pool, "waiting", &["acct_a"], Some("2020-01-01T00:00:00Z")).await;
    support::rows::message(&world.pool, "w1", "waiting", "2020-01-01T00:00:00Z", json!({})).await;
    for statement in [
        "UPDATE agent_messages SET expires_at = now() + interval '1 day' WHERE message_id = 'w1'",
        "INSERT INTO agent_deliveries (message_id, recipient, state, created_at) \
         VALUES ('old0', 'acct_b', 'processed', now()), ('kept0', 'acct_b', 'processed', now())",
        "INSERT INTO agent_sessions (session_tag, agent_id, server_id, connected_at, disconnected_at, last_seen, status) \
         VALUES ('s_old', 'a', 'r', now(), now() - interval '15 days', now(), 'offline'), \
                ('s_new', 'a', 'r', now(), now() - interval '13 days', now(), 'offline')",
        "INSERT INTO agent_auth_nonces VALUES ('acct_a', 'old', now() - interval '1 s'), ('acct_a', 'new', now() + interval '1 h')",
        "INSERT INTO agent_redelivery_owners VALUES ('acct_old', 'gone', now() - interval '2 minutes'), \
         ('acct_new', 'gone', now() + interval '1 hour')",
        "INSERT INTO agent_quarantine (subject, body, code, stream_seq, received_at) \
         VALUES ('s', '', 'c', 1, now() - interval '31 days'), ('s', '', 'c', 2, now())",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&world.pool).await.unwrap();
    }
    // Both at once, and again: the second round finds nothing.
    let (one, two) = tokio::join!(a.handle.collect(), b.handle.collect());
    assert_eq!(one.pruned + two.pruned, 3 + 1 + 1 + 1 + 1 + 1, "{one:?} {two:?}");
    assert_eq!(a.handle.collect().await.pruned, 0);
    for (query, expected) in [
        ("SELECT string_agg(thread_id, ',' ORDER BY thread_id) FROM agent_threads", "kept,waiting"),
        (
            "SELECT string_agg(message_id, ',' ORDER BY message_id) FROM agent_messages",
            "kept0,kept1,kept2,w1",
        ),
        ("SELECT string_agg(message_id, ',') FROM agent_deliveries", "kept0"),
        ("SELECT string_agg(session_tag, ',') FROM agent_sessions", "s_new"),
        ("SELECT string_agg(nonce, ',') FROM agent_auth_nonces", "new"),
        ("SELECT string_agg(recipient, ',') FROM agent_redelivery_owners", "acct_new"),
        ("SELECT string_agg(stream_seq::text, ',') FROM agent_quarantine", "2"),
    ] {
        let found: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&world.pool).await.unwrap();
        assert_eq!(found, expected, "{query}");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn replicas_may_migrate_an_empty_database_at_once() {
    let nats = TestNats::start();
    let db = TestDb::create().await;
    let (url, db_url) = (nats.url(), db.url());
    let ids = ["a", "b", "c"];
    let starts = ids.map(|id| {
        let (url, db_url) = (url.clone(), db_url.to_owned());
        tokio::spawn(async move { Running::start(&url, &db_url, &[("REGISTRY_SERVER_ID", id)]).await })
    });
    for start in starts {
        start.await.unwrap().stop().await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_answered_in_time() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let mut blocker = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE agent_accounts, agent_messages IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *blocker)
        .await
        .unwrap();
    // More at once than there are connections, so that some wait for those that hang.
    let calls = (0..12).map(|n| {
        let client = world.client.clone();
        tokio::spawn(async move {
            let (method, body) = match n % 3 {
                0 => ("search", json!({})),
                1 => ("resolve_account", json!({"username": format!("u{n}")})),
                _ => ("message_search", json!({})),
            };
            let asked = Instant::now();
            (support::call(&client, method, &body.to_string()).await, asked.elapsed())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (answer, took) = call.await.unwrap();
        assert_eq!(answer["retryable"], true, "{answer}");
        assert!(took < Duration::from_millis(1950), "{took:?}: {answer}");
    }
    blocker.rollback().await.unwrap();
    eventually(PATIENCE, || async { world.call("search", json!({})).await.get("error").is_none() }).await;
    registry.stop().await;
}

#[tokio::test]
async fn a_registry_waits_for_nats_at_start() {
    let world = World::new().await;
    world.nats.stop();
    let (url, db_url) = (world.nats.url(), world.db.url().to_owned());
    let starting = tokio::spawn(async move { Running::start(&url, &db_url, &[]).await });
    // It goes on trying: the first attempts have failed by the time the server is there.
    tokio::task::yield_now().await;
    world.nats.restart().unwrap();
    let registry = tokio::time::timeout(PATIENCE, starting).await.expect("never started").unwrap();
    let client = connect(&world.nats.url()).await;
    assert_eq!(support::call(&client, "list", "{}").await["agents"], json!([]));
    registry.stop().await;
}

#[tokio::test]
async fn rows_that_were_ended_in_error_come_back() {
    let world = World::new().await;
    let registry = world.registry(&[("AGENTNET_PRESENCE_FLUSH_SECONDS", "0.1")]).await;
    let tag = world.register(json!({"agent_id": "alive"})).await["session_tag"].as_str().unwrap().to_owned();
    sqlx::query("UPDATE agent_sessions SET status = 'offline', disconnected_at = now()")
        .execute(&world.pool)
        .await
        .unwrap();
    eventually(PATIENCE, || async {
        world.publish("hello", &json!({"agent_id": "alive", "session_tag": tag})).await;
        status_of(&world.pool, &tag).await == "online"
    })
    .await;
    let connected: bool = sqlx::query_scalar("SELECT disconnected_at IS NULL FROM agent_sessions")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(connected);
    registry.stop().await;
}

#[tokio::test]
async fn threads_that_keep_their_messages_hold_up_no_other() {
    let world = World::new().await;
    let registry = world.registry(&[("GC_INTERVAL_SECONDS", "3600")]).await;
    // More than one step takes, all older than the one that may go.
    for statement in [
        "INSERT INTO agent_threads (thread_id, created_at, updated_at, last_message_at) \
         SELECT 'waiting' || n, t, t, t FROM generate_series(1, 150) n, (SELECT timestamptz '2019-01-01' AS t) x",
        "INSERT INTO agent_messages (message_id, thread_id, to_agent, kind, sent_at, received_at, expires_at, envelope, \
             body_sha256) \
         SELECT 'w' || n, 'waiting' || n, 'acct_b', 'direct', '2019-01-01', '2019-01-01', now() + interval '1 day', '', '' \
         FROM generate_series(1, 150) n",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&world.pool).await.unwrap();
    }
    support::rows::thread(&world.pool, "old", &["acct_a"], Some("2020-01-01T00:00:00Z")).await;
    support::rows::message(&world.pool, "old0", "old", "2020-01-01T00:00:00Z", json!({})).await;
    let round = registry.handle.collect().await;
    assert_eq!(round.pruned, 2, "the thread and its message: {round:?}");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM agent_threads").fetch_one(&world.pool).await.unwrap();
    assert_eq!(left, 150);
    registry.stop().await;
}
