//! Operators, and accounts that are locked out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::agents::{joining, next_message, persister};
use support::secure::{Asking, key_of, secure, texts};
use support::{PATIENCE, World};

#[tokio::test]
async fn only_operators_change_how_others_stand() {
    let world = World::new().await;
    let root_key = key_of('r').verifying().to_string();
    let settings = [&secure()[..], &[("AGENTNET_OPERATOR_KEYS", root_key.as_str())]].concat();
    let registry = world.registry(&settings).await;
    let (r, a, b) =
        (Asking::new(&world, 'r').await, Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    let of = |target: &Asking| json!({"target": target.id});
    for method in ["operator_grant", "operator_revoke", "suspend", "resume"] {
        assert_eq!(a.error(method, of(&a)).await, "forbidden", "{method}");
        assert_eq!(
            a.error(method, json!({"target": r.id, "account_id": r.id})).await,
            "forbidden",
            "{method}"
        );
        assert_eq!(a.error(method, json!({"target": "nobody"})).await, "forbidden", "{method}");
        assert_eq!(r.error(method, json!({"target": "nobody"})).await, "not_found", "{method}");
        assert_eq!(r.error(method, json!({})).await, "invalid_field", "{method}");
    }
    assert_eq!(a.error("operator_list", json!({})).await, "forbidden");
    assert_eq!(a.error("redrive", json!({"all": true})).await, "forbidden");
    assert_eq!(r.call("redrive", json!({"all": true})).await["redriven"], json!([]));

    let mut events = world.client.subscribe("agentnet.events.keys").await.unwrap();
    world.client.flush().await.unwrap();
    let granted = r.call("operator_grant", json!({"target": "@A"})).await;
    assert_eq!(
        (&granted["account"]["account_id"], &granted["account"]["role"]),
        (&json!(a.id), &json!("operator"))
    );
    let event: Value = serde_json::from_slice(&next_message(&mut events).await.payload).unwrap();
    assert_eq!((&event["account_id"], &event["change"]), (&json!(a.id), &json!("permissions")));
    assert_eq!(
        texts(&a.call("operator_list", json!({})).await, "operators", "account_id"),
        [a.id.as_str(), &r.id]
    );
    // Whom the configuration names stays.
    assert_eq!(a.error("operator_revoke", of(&r)).await, "invalid_field");
    assert_eq!(a.error("suspend", of(&a)).await, "invalid_field");
    a.call("suspend", of(&b)).await;
    assert_eq!(b.error("thread_list", json!({})).await, "suspended");
    assert_eq!(b.error("operator_grant", of(&b)).await, "suspended");
    a.call("resume", of(&b)).await;
    assert_eq!(b.call("thread_list", json!({})).await["results"], json!([]));
    r.call("operator_revoke", of(&a)).await;
    assert_eq!(a.error("suspend", of(&b)).await, "forbidden");
    // Not even an operator comes by a suspension.
    r.call("operator_grant", of(&a)).await;
    r.call("suspend", of(&a)).await;
    assert_eq!(a.error("resume", of(&a)).await, "suspended");
    registry.stop().await;
}

#[tokio::test]
async fn a_suspended_account_is_locked_out_on_every_path() {
    let world = World::new().await;
    let first = world.registry(&[("REGISTRY_SERVER_ID", "one")]).await;
    let second = world.registry(&[("REGISTRY_SERVER_ID", "two")]).await;
    let _persisting = persister(&world).await;
    let bad = world.agent(joining("bad", Some("1.2"), &[])).await;
    let good = world.agent(joining("good", Some("1.2"), &[])).await;
    world.hello(&bad).await;
    world.hello(&good).await;
    eventually(PATIENCE, || async { world.listed().await.len() == 2 }).await;
    let mut events = world.client.subscribe("agentnet.events.keys").await.unwrap();
    let mut stored = world.client.subscribe(format!("account.{}.stored", bad.account)).await.unwrap();
    world.client.flush().await.unwrap();

    let answer = world.call("suspend", json!({"target": "bad"})).await;
    assert_eq!(answer["account"]["status"], "suspended");
    let event: Value = serde_json::from_slice(&next_message(&mut events).await.payload).unwrap();
    assert_eq!((&event["account_id"], &event["change"]), (&json!(bad.account), &json!("suspended")));
    // Sessions end on every replica, and in Postgres.
    let alone = || async { first.handle.sessions() == 1 && second.handle.sessions() == 1 };
    eventually(PATIENCE, alone).await;
    let row = || async {
        let status: String = sqlx::query_scalar("SELECT status FROM agent_sessions WHERE session_tag = $1")
            .bind(&bad.tag)
            .fetch_one(&world.pool)
            .await
            .unwrap();
        status == "offline"
    };
    eventually(PATIENCE, row).await;
    // Register, as before and as somebody who has forgotten the account; on either replica.
    for _ in 0..4 {
        assert_eq!(world.error("register", joining("bad", Some("1.2"), &[])).await, "suspended");
    }
    let known = json!({"agent_id": "bad", "account_id": bad.account});
    assert_eq!(world.error("register", known).await, "suspended");
    // Hello, with the old session and with a made up one.
    let mut other = bad.hello.clone();
    other["session_tag"] = json!("made_up");
    for hello in [&bad.hello, &other] {
        world.publish("hello", hello).await;
    }
    world.publish("hello", &good.hello).await;
    assert!(alone().await);
    // Requests in its name.
    assert_eq!(world.error("thread_create", json!({"account_id": bad.account})).await, "suspended");
    // Messages.
    world.send("m1", &bad.account, &good.account, json!({})).await;
    let notice: Value = serde_json::from_slice(&next_message(&mut stored).await.payload).unwrap();
    assert_eq!(
        (&notice["failed"][0]["message_id"], &notice["failed"][0]["code"]),
        (&json!("m1"), &json!("suspended"))
    );
    assert_eq!(world.call("thread_messages", json!({"thread_id": "t1"})).await["messages"], json!([]));
    // Others go on meanwhile, in the same batch too.
    world.send("m2", &bad.account, &good.account, json!({})).await;
    world.send("m3", &good.account, &bad.account, json!({})).await;
    let has = |id: &'static str| {
        let world = &world;
        async move {
            let answer = world.call("thread_messages", json!({"thread_id": "t1"})).await;
            texts(&answer, "messages", "message_id") == [id]
        }
    };
    eventually(PATIENCE, || has("m3")).await;
    // A replica that starts later knows as well.
    let third = world.registry(&[("REGISTRY_SERVER_ID", "three")]).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(world.error("register", joining("bad", Some("1.2"), &[])).await, "suspended");

    world.call("resume", json!({"target": bad.account})).await;
    world.register(joining("bad", Some("1.2"), &[])).await;
    third.stop().await;
}

/// In open mode anybody may do what operators may: nobody is proved.
#[tokio::test]
async fn open_mode_has_no_operators() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    world.register(json!({"agent_id": "ann"})).await;
    assert_eq!(world.call("operator_grant", json!({"target": "ann"})).await["account"]["role"], "operator");
    assert_eq!(texts(&world.call("operator_list", json!({})).await, "operators", "username"), ["ann"]);
    registry.stop().await;
}

/// In signed mode a request that nobody signed is nobody's.
#[tokio::test]
async fn signed_mode_wants_to_know_who_asks() {
    let world = World::new().await;
    let registry = world.registry(&[("DEV_AUTH", "true")]).await;
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, role, created_at, updated_at) \
         VALUES ('acct_op', 'op', 'Op', 'operator', now(), now())",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    for method in ["operator_grant", "suspend"] {
        let body = json!({"target": "op", "account_id": "acct_op"});
        assert_eq!(world.error(method, body).await, "auth_required", "{method}");
        assert_eq!(world.error(method, json!({"target": "op"})).await, "auth_required", "{method}");
    }
    registry.stop().await;
}
