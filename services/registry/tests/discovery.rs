//! list, search, profile, resolve: what they answer and how they are limited.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::{PATIENCE, World};

#[tokio::test]
async fn search_orders_filters_and_takes_wildcards_literally() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    for (agent, name, caps) in [
        ("zeta", "Zeta One", json!(["math", "Search"])),
        ("alpha", "100% Alpha", json!(["math"])),
        ("under_score", "Plain", json!([])),
    ] {
        world.register(json!({"agent_id": agent, "name": name, "capabilities": caps})).await;
    }
    world.register(json!({"agent_id": "zeta", "name": "Zeta One", "capabilities": ["math", "Search"]})).await;
    let gone = world.register(json!({"agent_id": "gone", "name": "Gone"})).await;
    world.publish("goodbye", &json!({"agent_id": "gone", "session_tag": gone["session_tag"]})).await;
    let names = |answer: &Value| -> Vec<String> {
        let name = |row: &Value| row["username"].as_str().unwrap().to_owned();
        answer["results"].as_array().unwrap().iter().map(name).collect()
    };
    // Most sessions first, then by name.
    eventually(PATIENCE, || async {
        names(&world.call("search", json!({})).await) == ["zeta", "alpha", "under_score", "gone"]
    })
    .await;
    let all = world.call("search", json!({"query": "", "limit": "2", "online_only": "false"})).await;
    // Any non-empty string is true, as in the original.
    assert_eq!((&all["limit"], &all["online_only"], &all["query"]), (&json!(2), &json!(true), &json!("")));
    assert_eq!(all["capability"], Value::Null);
    assert_eq!(names(&all), ["zeta", "alpha"]);
    let row = &all["results"][0];
    assert_eq!((&row["online_sessions"], &row["online"]), (&json!(2), &json!(true)));
    assert_eq!(
        (&row["display_name"], &row["visibility"], &row["status"]),
        (&json!("Zeta One"), &json!("public"), &json!("active"))
    );
    assert_eq!(row["metadata"], json!({"agent_id": "zeta", "metadata": {}}));
    assert!(row.get("bio").is_none());
    for (body, expected) in [
        (json!({"query": "ALPHA"}), vec!["alpha"]),
        (json!({"query": "zeta o"}), vec!["zeta"]),
        (json!({"query": "%"}), vec!["alpha"]),
        (json!({"query": "_"}), vec!["under_score"]),
        (json!({"query": "\\"}), vec![]),
        (json!({"capability": "math"}), vec!["zeta", "alpha"]),
        (json!({"capability": "Search"}), vec!["zeta"]),
        (json!({"capability": "search"}), vec![]),
        (json!({"capability": "mat"}), vec![]),
        (json!({"online_only": true}), vec!["zeta", "alpha", "under_score"]),
        (json!({"status": "offline"}), vec!["gone"]),
        (json!({"status": "online", "query": "a"}), vec!["zeta", "alpha", "under_score"]),
        (json!({"status": "suspended"}), vec![]),
        (json!({"status": "active", "query": "gone"}), vec!["gone"]),
    ] {
        let answer = world.call("search", body.clone()).await;
        let mut found = names(&answer);
        let mut wanted: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        if body.get("query").is_some_and(|q| q == "a") {
            found.retain(|name| name != "under_score");
            wanted.retain(|name| name != "under_score");
        }
        assert_eq!(found, wanted, "{body}");
    }
    for (limit, applied) in
        [(json!(0), 20), (json!(-1), 1), (json!(1000), 100), (json!("x"), 20), (json!(null), 20)]
    {
        assert_eq!(world.call("search", json!({"limit": limit})).await["limit"], applied, "{limit}");
    }
    assert_eq!(world.error("search", json!([])).await, "search payload must be an object");
    assert_eq!(world.error("search", json!({"query": "\u{0}"})).await, "invalid_field");
    assert_eq!(
        world.error("search", json!({"online_only": true, "status": "offline"})).await,
        "invalid_field"
    );
    registry.stop().await;
}

#[tokio::test]
async fn profile_and_resolve() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let first =
        world.register(json!({"agent_id": "p", "capabilities": ["one"], "metadata": {"a": [1, null]}})).await;
    let second = world.register(json!({"agent_id": "p2", "username": "p"})).await;
    let id = first["account_id"].as_str().unwrap();
    let hello = json!({"agent_id": "p", "session_tag": first["session_tag"], "metadata": {"now": true}});
    world.publish("hello", &hello).await;
    // The account id wins over the username, which may be anything.
    let profile = eventually(PATIENCE, || async {
        let answer = world.call("profile", json!({"account_id": id, "username": "nobody"})).await;
        let newest = answer["profile"]["online_sessions"][0]["session_tag"] == first["session_tag"];
        newest.then_some(answer)
    })
    .await;
    // Written by hand, so held against the wire's type: nothing more, nothing less.
    let typed: agentnet_proto::rpc::ProfileResponse = serde_json::from_value(profile.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), profile);
    let profile = &profile["profile"];
    assert_eq!(profile["username"], "p");
    assert_eq!(profile["online"], true);
    let sessions = profile["online_sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["metadata"], json!({"now": true}));
    assert_eq!(sessions[0]["agent_id"], "p");
    assert_eq!(sessions[0]["server_id"], "registry");
    assert_eq!(sessions[0]["connected_at"], first["registered_at"]);
    assert_eq!(sessions[1]["session_tag"], second["session_tag"]);
    assert_eq!(world.call("profile", json!({"username": " @P "})).await["profile"]["account_id"], id);

    let resolved = world.call("resolve_account", json!({"username": " @P "})).await;
    assert_eq!((&resolved["account_id"], &resolved["username"]), (&json!(id), &json!("p")));
    assert!(resolved["resolved_at"].is_string());
    sqlx::query("INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, 'key', now())")
        .bind(id)
        .execute(&world.pool)
        .await
        .unwrap();
    let key = world.call("resolve_key", json!({"account_id": id})).await;
    assert_eq!((&key["account_id"], &key["public_key"]), (&json!(id), &json!("key")));
    for (method, body, expected) in [
        ("profile", json!([]), "profile payload must be an object"),
        ("profile", json!({}), "account_id or username is required"),
        ("profile", json!({"username": "nobody"}), "not_found"),
        ("profile", json!({"account_id": "acct_no", "username": "p"}), "not_found"),
        ("resolve_account", json!("p"), "resolve payload must be an object"),
        ("resolve_account", json!({"username": "@"}), "username is required"),
        ("resolve_account", json!({"username": null}), "username is required"),
        ("resolve_account", json!({"username": "nobody"}), "not_found"),
        ("resolve_key", json!(1), "resolve payload must be an object"),
        ("resolve_key", json!({}), "account_id is required"),
        ("resolve_key", json!({"account_id": second["session_tag"]}), "not_found"),
        ("register", json!([]), "register payload must be an object"),
    ] {
        assert_eq!(world.error(method, body.clone()).await, expected, "{method} {body}");
    }
    registry.stop().await;
}

#[tokio::test]
async fn list_filters_and_pages() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    for n in 0..25 {
        let capabilities = if n % 5 == 0 { json!(["five"]) } else { json!([]) };
        let agent = format!("agent{:02}", n / 2);
        world.register(json!({"agent_id": agent, "capabilities": capabilities})).await;
    }
    let tag = |row: &Value| {
        (row["agent_id"].as_str().unwrap().to_owned(), row["session_tag"].as_str().unwrap().to_owned())
    };
    let tags = |answer: &Value| -> Vec<(String, String)> {
        answer["agents"].as_array().unwrap().iter().map(tag).collect()
    };
    let whole = tags(&world.call("list", json!({})).await);
    assert_eq!(whole.len(), 25);
    assert!(whole.is_sorted());
    let (mut cursor, mut paged) = (Value::Null, Vec::new());
    loop {
        let page = world.call("list", json!({"limit": 7, "cursor": cursor})).await;
        paged.extend(tags(&page));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, whole);
    assert_eq!(tags(&world.call("list", json!({"capability": "five"})).await).len(), 5);
    assert_eq!(tags(&world.call("list", json!({"capability": "Five"})).await).len(), 0);
    assert_eq!(tags(&world.call("list", json!({"status": "online"})).await).len(), 25);
    assert_eq!(tags(&world.call("list", json!({"status": "late"})).await).len(), 0);
    assert_eq!(world.error("list", json!({"status": "asleep"})).await, "invalid_field");
    let account = world.call("resolve_account", json!({"username": "agent03"})).await["account_id"].clone();
    let own = world.call("list", json!({"account_id": account, "limit": 1})).await;
    let rest = world.call("list", json!({"account_id": account, "cursor": own["next_cursor"]})).await;
    assert_eq!([tags(&own), tags(&rest)].concat(), whole[6..8].to_vec());
    // A cursor that can't be read counts as none.
    assert_eq!(tags(&world.call("list", json!({"cursor": "%%%"})).await), whole);
    registry.stop().await;
}

#[tokio::test]
async fn a_list_larger_than_nats_carries_ends_early_with_a_cursor() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let filler = "x".repeat(60_000);
    for n in 0..40 {
        let body = json!({"agent_id": format!("big{n:02}"), "session_tag": format!("t{n}"), "account_id": format!("acct_{n}"),
            "username": format!("big{n}"), "metadata": {"filler": filler}});
        world.publish("hello", &body).await;
    }
    eventually(PATIENCE, || async { registry.handle.sessions() == 40 }).await;
    let (mut cursor, mut seen, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let page = world.call("list", json!({"cursor": cursor})).await;
        assert!(page.get("error").is_none(), "{}", page["error"]);
        seen.extend(
            page["agents"].as_array().unwrap().iter().map(|a| a["agent_id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen, (0..40).map(|n| format!("big{n:02}")).collect::<Vec<_>>());
    assert!(pages >= 3, "{pages}");
    registry.stop().await;
}

#[tokio::test]
async fn metrics_have_the_originals_names() {
    let world = World::new().await;
    let registry =
        world.registry(&[("REGISTRY_METRICS_WINDOW_SIZE", "16"), ("REGISTRY_SERVER_ID", "r1")]).await;
    for _ in 0..20 {
        world.call("list", json!({})).await;
    }
    world.call("search", json!([])).await;
    let answer = world.call("metrics", json!({})).await;
    assert_eq!(
        (&answer["server_id"], &answer["window_size"], &answer["store_enabled"]),
        (&json!("r1"), &json!(16), &json!(true))
    );
    for name in [
        "register",
        "hello",
        "goodbye",
        "list",
        "resolve_account",
        "resolve_key",
        "search",
        "profile",
        "thread_status",
        "thread_list",
        "thread_messages",
        "message_search",
        "metrics",
    ] {
        assert!(answer["handlers"][name]["calls"].is_u64(), "{name}: {answer}");
        assert!(answer["latency_ms"][format!("handler.{name}")]["p99"].is_f64(), "{name}");
    }
    assert_eq!(answer["handlers"]["list"], json!({"calls": 20, "errors": 0}));
    assert_eq!(answer["handlers"]["search"], json!({"calls": 1, "errors": 1}));
    assert_eq!(answer["latency_ms"]["handler.list"]["count"], 16);
    assert_eq!(answer["db_write_queue"]["size"], 0);

    // With the stream there, its figures are the queue's: the persister's own stream, which nobody empties now.
    let jetstream = async_nats::jetstream::new(world.client.clone());
    agentnet_persister::stream::ensure(&jetstream, &agentnet_persister::StreamConfig::default())
        .await
        .unwrap();
    for _ in 0..3 {
        world.client.publish("account.acct_x.inbox", "{}".into()).await.unwrap();
    }
    world.client.publish("account.acct_x.receipts", "{}".into()).await.unwrap();
    world.client.flush().await.unwrap();
    let queue = eventually(PATIENCE, || async {
        let queue = world.call("metrics", json!({})).await["db_write_queue"].clone();
        (queue["size"] == 4).then_some(queue)
    })
    .await;
    assert!(queue["bytes"].as_u64().unwrap() > 4 * 40, "{queue}");
    assert_eq!((&queue["max_bytes"], &queue["max"]), (&json!(1 << 30), &json!(0)));
    assert_eq!((&queue["batch_size"], &queue["flush_ms"]), (&json!(500), &json!(0)));
    registry.stop().await;
}

#[tokio::test]
async fn a_search_that_does_not_fit_says_so() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    for number in 0..20 {
        let metadata = json!({"notes": "y".repeat(60_000)});
        world.register(json!({"agent_id": format!("big_{number}"), "metadata": metadata})).await;
    }
    world.register(json!({"agent_id": "small"})).await;
    let all = world.call("search", json!({"query": "big", "limit": 100})).await;
    let found = all["results"].as_array().unwrap().len();
    assert!((10..20).contains(&found), "{found}");
    assert_eq!(all["truncated"], true);
    let few = world.call("search", json!({"query": "big", "limit": 3})).await;
    assert_eq!((few["results"].as_array().unwrap().len(), few.get("truncated")), (3, None));
    registry.stop().await;
}

#[tokio::test]
async fn names_come_back_exactly_as_registered() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    for (agent, name, kept) in [
        ("a", "  \u{c9}cho \u{5929}\u{6c17} ", "  \u{c9}cho \u{5929}\u{6c17} "),
        ("b", "  ", "b"),
        ("c", "", "c"),
    ] {
        let body = json!({"agent_id": agent, "name": name});
        let answer = world.register(body).await;
        let session = json!({"agent_id": agent, "name": kept, "session_tag": answer["session_tag"]});
        for _ in 0..2 {
            let id = &answer["account_id"];
            let profile = world.call("profile", json!({"account_id": id})).await;
            assert_eq!(profile["profile"]["display_name"], kept);
            let list = world.call("list", json!({"account_id": id})).await;
            assert_eq!(list["agents"][0]["name"], kept);
            // The hello that follows says the same.
            world.publish("hello", &session).await;
        }
    }
    registry.stop().await;
}
