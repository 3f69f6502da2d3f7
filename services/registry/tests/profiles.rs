//! What accounts say about themselves, and which capabilities they may serve.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::secure::{Asking, secure, texts};
use support::{PATIENCE, World};

#[tokio::test]
async fn only_the_owner_changes_a_profile() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    let change = json!({"display_name": "Ann", "bio": "two\nlines", "visibility": "private", "metadata": {"team": "blue"}});
    let changed = a.call("profile_update", change).await;
    assert_eq!(changed["metadata"]["profile"], json!({"team": "blue"}));
    let profile = b.call("profile", json!({"account_id": a.id})).await["profile"].clone();
    assert_eq!((&profile["display_name"], &profile["bio"]), (&json!("Ann"), &json!("two\nlines")));
    // What isn't named stays.
    a.call("profile_update", json!({"bio": ""})).await;
    assert_eq!(a.call("profile", json!({"username": "a"})).await["profile"]["display_name"], "Ann");
    assert_eq!(b.error("profile_update", json!({"account_id": a.id, "bio": "mine now"})).await, "forbidden");
    for bad in [
        json!({"display_name": "\u{1b}[2J"}),
        json!({"display_name": "a\nb"}),
        json!({"display_name": " "}),
        json!({"display_name": "x".repeat(257)}),
        json!({"bio": "bell\u{7}"}),
        json!({"bio": "nul\u{0}"}),
        json!({"bio": "x".repeat(900_000)}),
        json!({"metadata": {"big": "x".repeat(100_000)}}),
        json!({"metadata": {"nul": "\u{0}"}}),
        json!({"visibility": "hidden"}),
    ] {
        let answer = a.call("profile_update", bad).await;
        assert_eq!(answer["error"], "invalid_field", "{answer}");
    }
    // Private accounts are found by themselves and by operators.
    let found =
        async |who: &Asking| texts(&who.call("search", json!({"query": "a"})).await, "results", "username");
    assert_eq!(found(&b).await, Vec::<String>::new());
    assert_eq!(found(&a).await, ["a"]);
    b.is_operator(&world).await;
    eventually(PATIENCE, || async { found(&b).await == ["a"] }).await;
    registry.stop().await;
}

#[tokio::test]
async fn registering_keeps_a_chosen_name() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let id = world.register(json!({"agent_id": "ann", "name": "First"})).await["account_id"].clone();
    world.register(json!({"agent_id": "ann", "name": "Second"})).await;
    let name = || async {
        world.call("profile", json!({"account_id": id})).await["profile"]["display_name"].clone()
    };
    assert_eq!(name().await, "Second");
    assert_eq!(world.error("profile_update", json!({"display_name": "x"})).await, "account_id is required");
    world.call("profile_update", json!({"account_id": id, "display_name": "Chosen"})).await;
    world.register(json!({"agent_id": "ann", "name": "Third"})).await;
    assert_eq!(name().await, "Chosen");
    registry.stop().await;
}

#[tokio::test]
async fn a_restricted_capability_takes_a_grant() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let joining = |name: &str| json!({"agent_id": name, "capabilities": ["pay", "chat"]});
    let before = world.register(joining("bob")).await;
    assert_eq!(
        world.error("capability_grant", json!({"capability": "pay", "target": "bob"})).await,
        "not_found"
    );
    assert_eq!(world.error("capability_restrict", json!({"capability": "a.b"})).await, "invalid_capability");
    let now = world.call("capability_restrict", json!({"capability": "pay"})).await;
    assert_eq!(now["restricted"], json!([{"capability": "pay", "granted": []}]));
    assert_eq!(world.error("register", joining("bob")).await, "capability_restricted");
    // A hello that claims it isn't heard.
    let hello = |tag: &str, account: &Value, capabilities: Value| json!({"agent_id": "bob", "account_id": account, "session_tag": tag, "capabilities": capabilities});
    let id = &before["account_id"];
    world.publish("hello", &hello("claims", id, json!(["pay"]))).await;
    world.publish("hello", &hello("plain", id, json!(["chat"]))).await;
    eventually(PATIENCE, || async { world.listed().await.contains(&"plain".to_owned()) }).await;
    assert!(!world.listed().await.contains(&"claims".to_owned()));

    let now = world.call("capability_grant", json!({"capability": "pay", "target": "bob"})).await;
    assert_eq!(now["restricted"], json!([{"capability": "pay", "granted": [id]}]));
    world.register(joining("bob")).await;
    assert_eq!(world.error("register", joining("eve")).await, "capability_restricted");
    world.call("capability_revoke", json!({"capability": "pay", "target": "bob"})).await;
    assert_eq!(world.error("register", joining("bob")).await, "capability_restricted");
    assert_eq!(texts(&world.call("capability_list", json!({})).await, "restricted", "capability"), ["pay"]);
    world.call("capability_restrict", json!({"capability": "pay", "open": true})).await;
    world.register(joining("eve")).await;
    registry.stop().await;
}

#[tokio::test]
async fn only_operators_restrict() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let a = Asking::new(&world, 'a').await;
    for (method, body) in [
        ("capability_restrict", json!({"capability": "pay"})),
        ("capability_grant", json!({"capability": "pay", "target": "a"})),
        ("capability_revoke", json!({"capability": "pay", "target": "a"})),
    ] {
        assert_eq!(a.error(method, body).await, "forbidden", "{method}");
    }
    a.is_operator(&world).await;
    eventually(PATIENCE, || async {
        a.call("capability_restrict", json!({"capability": "pay"})).await.get("error").is_none()
    })
    .await;
    registry.stop().await;
}
