//! The register handshake, presence, and the rules of accounts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::{PATIENCE, World};

#[tokio::test]
async fn register_hello_list_goodbye() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    // The original's SDK sends its whole AgentInfo, nulls left out.
    let answer = world
        .register(json!({"agent_id": "weather", "name": "Weather Bot", "capabilities": ["forecast", 7],
            "metadata": {"region": "eu", "n": 1.5}, "username": " @Weather_Bot "}))
        .await;
    assert!(answer["account_id"].as_str().unwrap().starts_with("acct_"), "{answer}");
    assert_eq!(answer["account_id"].as_str().unwrap().len(), 31);
    assert_eq!(answer["username"], "weather_bot");
    let tag = answer["session_tag"].as_str().unwrap().to_owned();
    let ulid = tag.strip_prefix("registry_").unwrap();
    assert!(ulid.len() == 26 && ulid == ulid.to_ascii_uppercase(), "{tag}");
    assert_eq!(answer["heartbeat_interval"].to_string(), "12.0");
    assert_eq!(answer["ttl_seconds"].to_string(), "40.0");
    assert!(answer["registered_at"].as_str().unwrap().ends_with('Z'));

    let list = world.call_raw("list", "").await;
    let agents = list["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 1, "{list}");
    assert!(list["generated_at"].is_string());
    assert_eq!(agents[0]["agent_id"], "weather");
    assert_eq!(agents[0]["name"], "Weather Bot");
    assert_eq!(agents[0]["capabilities"], json!(["forecast", "7"]));
    assert_eq!(agents[0]["metadata"], json!({"region": "eu", "n": 1.5}));
    assert_eq!(agents[0]["account_id"], answer["account_id"]);
    assert_eq!(agents[0]["session_tag"], json!(tag));
    let registered_at = agents[0]["last_seen"].as_str().unwrap().to_owned();

    let mut hello = agents[0].clone();
    hello["name"] = json!("Weather Bot 2");
    hello["agent_id"] = json!("renamed");
    world.publish("hello", &hello).await;
    let agent = eventually(PATIENCE, || async {
        let list = world.call("list", json!({})).await;
        (list["agents"][0]["name"] == "Weather Bot 2").then(|| list["agents"][0].clone())
    })
    .await;
    // The session keeps its agent_id; the account keeps its display name.
    assert_eq!(agent["agent_id"], "weather");
    assert!(agent["last_seen"].as_str().unwrap() > registered_at.as_str());
    let profile = world.call("profile", json!({"username": "weather_bot"})).await;
    assert_eq!(profile["profile"]["display_name"], "Weather Bot");

    world.publish("goodbye", &json!({"agent_id": "weather", "session_tag": tag, "seen_at": "x"})).await;
    eventually(PATIENCE, || async { world.listed().await.is_empty() }).await;
    // A hello that the goodbye overtook brings nobody back.
    world.publish("hello", &hello).await;
    eventually(PATIENCE, || async {
        let row: (String, bool) = sqlx::query_as(
            "SELECT status, disconnected_at IS NOT NULL FROM agent_sessions WHERE session_tag = $1",
        )
        .bind(&tag)
        .fetch_one(&world.pool)
        .await
        .unwrap();
        row == ("offline".to_owned(), true)
    })
    .await;
    assert!(world.listed().await.is_empty());
    let search = world.call("search", json!({"online_only": true})).await;
    assert_eq!(search["results"], json!([]));
    registry.stop().await;
}

#[tokio::test]
async fn accounts_follow_the_originals_rules() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    // 1: username, else agent_id, else made up.
    let first = world.register(json!({"agent_id": "Agent One"})).await;
    assert_eq!(first["username"], "agent_one");
    let nameless = world.register(json!({"agent_id": "---"})).await;
    let made_up = nameless["username"].as_str().unwrap();
    assert!(made_up.starts_with("agent_") && made_up.len() == 14, "{made_up}");

    // 4: without an account_id the username's account is joined, under another session.
    let joined = world.register(json!({"agent_id": "other", "username": "AGENT one"})).await;
    assert_eq!(joined["account_id"], first["account_id"]);
    assert_ne!(joined["session_tag"], first["session_tag"]);

    // 2: a known account takes a free username, and keeps its own when the wanted one is taken.
    let id = first["account_id"].clone();
    let renamed = world.register(json!({"agent_id": "x", "account_id": id, "username": "brand-new"})).await;
    assert_eq!((&renamed["account_id"], &renamed["username"]), (&id, &json!("brand-new")));
    assert_eq!(world.error("resolve_account", json!({"username": "agent_one"})).await, "not_found");
    let kept = world.register(json!({"agent_id": "x", "account_id": id, "username": made_up})).await;
    assert_eq!((&kept["account_id"], &kept["username"]), (&id, &json!("brand-new")));
    // And is renamed after its agent_id when it names no username.
    let after_agent = world.register(json!({"agent_id": "agent one", "account_id": id})).await;
    assert_eq!(after_agent["username"], "agent_one");

    // 3: an unknown account is made with its id; a taken username gets a random suffix.
    let fresh = world.register(json!({"agent_id": "x", "account_id": "acct_mine", "username": "mine"})).await;
    assert_eq!((&fresh["account_id"], &fresh["username"]), (&json!("acct_mine"), &json!("mine")));
    let long = "a-username-of-thirty-two-charact";
    world.register(json!({"agent_id": "x", "username": long})).await;
    let suffixed = |n: u32| {
        let world = &world;
        async move {
            let body = json!({"agent_id": "x", "account_id": format!("acct_{n}"), "username": long});
            world.register(body).await["username"].as_str().unwrap().to_owned()
        }
    };
    let (a, b) = (suffixed(1).await, suffixed(2).await);
    for name in [&a, &b] {
        assert_eq!(name.len(), 31, "{name}");
        assert!(name.starts_with("a-username-of-thirty-two-"), "{name}");
    }
    // Random, not the time (D13).
    assert_ne!(a, b);
    registry.stop().await;
}

#[tokio::test]
async fn register_replaces_capabilities_and_merges_metadata() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    world.register(json!({"agent_id": "m", "capabilities": ["a", "b"], "metadata": {"v": 1}})).await;
    sqlx::query("UPDATE agent_accounts SET metadata = metadata || '{\"kept\": true}'")
        .execute(&world.pool)
        .await
        .unwrap();
    world.register(json!({"agent_id": "m", "name": "M", "capabilities": ["c"], "metadata": {"w": 2}})).await;
    let profile = world.call("profile", json!({"username": "m"})).await["profile"].clone();
    assert_eq!(profile["capabilities"], json!(["c"]));
    assert_eq!(profile["metadata"], json!({"agent_id": "m", "metadata": {"w": 2}, "kept": true}));
    assert_eq!(profile["display_name"], "M");
    assert_eq!(
        (&profile["bio"], &profile["visibility"], &profile["status"]),
        (&json!(""), &json!("public"), &json!("active"))
    );
    registry.stop().await;
}

#[tokio::test]
async fn fifty_registers_for_one_username_end_in_one_account() {
    let world = World::new().await;
    let registry = world.registry(&[("REGISTRY_SERVER_ID", "a")]).await;
    let second = world.registry(&[("REGISTRY_SERVER_ID", "b")]).await;
    let calls = (0..50).map(|n| {
        let client = world.client.clone();
        let body = json!({"agent_id": format!("racer{n}"), "username": "winner"}).to_string();
        tokio::spawn(async move { support::call(&client, "register", &body).await })
    });
    let mut accounts = std::collections::HashSet::new();
    let mut tags = std::collections::HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        accounts.insert(answer["account_id"].as_str().unwrap().to_owned());
        tags.insert(answer["session_tag"].as_str().unwrap().to_owned());
    }
    assert_eq!((accounts.len(), tags.len()), (1, 50));
    // With ids of their own they can't share an account, so all but one get a suffix.
    let calls = (0..50).map(|n| {
        let client = world.client.clone();
        let body =
            json!({"agent_id": "x", "account_id": format!("acct_r{n}"), "username": "wanted"}).to_string();
        tokio::spawn(async move { support::call(&client, "register", &body).await })
    });
    let mut names = std::collections::HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        names.insert(answer["username"].as_str().unwrap().to_owned());
    }
    assert_eq!(names.len(), 50);
    assert!(names.contains("wanted"));
    registry.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn hellos_restore_unknown_sessions() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let whole = json!({"agent_id": "r", "name": "R", "session_tag": "old_TAG1", "account_id": "acct_r",
        "username": "r", "capabilities": ["c"], "metadata": {}});
    world.publish("hello", &whole).await;
    // Without an account it is found or made, as register would.
    let bare = json!({"agent_id": "Bare Agent", "name": "B", "session_tag": "old_TAG2"});
    world.publish("hello", &bare).await;
    // Neither of these is a session.
    for bad in [
        json!({"agent_id": "x"}),
        json!({"session_tag": "t"}),
        json!({"agent_id": "x", "session_tag": "t", "account_id": "a.b"}),
        json!({"agent_id": "x\u{0}", "session_tag": "t"}),
        json!([1]),
    ] {
        world.publish("hello", &bad).await;
    }
    eventually(PATIENCE, || async { world.listed().await == ["old_TAG2", "old_TAG1"] }).await;
    let account = world.call("resolve_account", json!({"username": "bare_agent"})).await;
    let rows = eventually(PATIENCE, || async {
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as("SELECT session_tag, status, account_id FROM agent_sessions ORDER BY session_tag")
                .fetch_all(&world.pool)
                .await
                .unwrap();
        (rows.len() == 2).then_some(rows)
    })
    .await;
    assert_eq!(rows[0], ("old_TAG1".to_owned(), "online".to_owned(), Some("acct_r".to_owned())));
    assert_eq!(rows[1].2.as_deref(), account["account_id"].as_str());
    registry.stop().await;
}

#[tokio::test]
async fn bad_registers_are_refused_with_their_reason() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let cases: Vec<(Value, &str)> = vec![
        (json!({}), "agent_id is required"),
        (json!({"agent_id": null}), "agent_id is required"),
        (json!({"agent_id": "  "}), "agent_id is required"),
        (json!({"agent_id": 0}), "agent_id is required"),
        (json!({"agent_id": ["a"]}), "invalid_field"),
        (json!({"agent_id": "x".repeat(129)}), "invalid_field"),
        (json!({"agent_id": "a\u{0}b"}), "invalid_field"),
        (json!({"agent_id": "a", "name": "\u{1b}[2J"}), "invalid_field"),
        (json!({"agent_id": "a", "name": "n".repeat(300)}), "invalid_field"),
        (json!({"agent_id": "a", "username": "u".repeat(300)}), "invalid_field"),
        (json!({"agent_id": "a", "account_id": "a.b"}), "invalid_account_id"),
        (json!({"agent_id": "a", "account_id": "*"}), "invalid_account_id"),
        (json!({"agent_id": "a", "account_id": ">"}), "invalid_account_id"),
        (json!({"agent_id": "a", "account_id": "a b"}), "invalid_account_id"),
        (json!({"agent_id": "a", "metadata": {"k": "\u{0}"}}), "invalid_field"),
        (json!({"agent_id": "a", "metadata": {"k": "x".repeat(70_000)}}), "invalid_field"),
        (json!({"agent_id": "a", "capabilities": vec!["c"; 200]}), "invalid_field"),
        (json!({"agent_id": "a", "capabilities": ["c".repeat(200)]}), "invalid_field"),
    ];
    for (body, expected) in cases {
        assert_eq!(world.error("register", body.clone()).await, expected, "{body}");
    }
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_accounts WHERE kind <> 'service'")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 0);
    // Coercions: numbers become text, what isn't a list or an object is none.
    let answer =
        world.register(json!({"agent_id": 42, "capabilities": "no", "metadata": [1], "auth": "x"})).await;
    assert_eq!(answer["username"], "42");
    registry.stop().await;
}
