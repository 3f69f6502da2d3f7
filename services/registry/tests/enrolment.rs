//! Which unknown keys get in, in secure mode.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::signature::{Purpose, SecretKey};
use serde_json::{Value, json};
use support::secure::{Asking, connect, secure, signed};
use support::{PATIENCE, World};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Registers with a key that the network doesn't know.
async fn register(world: &World, key: &SecretKey, body: Value) -> Value {
    let nkey = key.verifying().to_nkey();
    let client = connect(&world.nats, &nkey).await;
    let body = body.to_string().into_bytes();
    let headers = signed(key, &body, |nonce| Purpose::Register(nonce));
    let request = client.request_with_headers(format!("registry.register.{nkey}"), headers, body.into());
    let answer = tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

fn with(name: &str, token: &Value) -> Value {
    json!({"agent_id": name, "enrolment_token": token})
}

/// As registering does once it checks signatures in secure mode.
async fn bind(world: &World, made: &Value, key: &SecretKey) {
    let account = made["account_id"].as_str().unwrap_or_else(|| panic!("{made}"));
    sqlx::query(
        "INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING",
    )
    .bind(account)
    .bind(key.verifying().to_string())
    .execute(&world.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_unknown_key_needs_leave() {
    let world = World::new().await;
    let settings = [&secure()[..], &[("AGENTNET_ENROLMENT_TOKEN", "the-networks-own")]].concat();
    let registry = world.registry(&settings).await;
    let operator = Asking::new(&world, 'p').await;
    operator.is_operator(&world).await;
    let nobody = Asking::new(&world, 'n').await;
    assert_eq!(nobody.error("enrol", json!({})).await, "forbidden");

    let refused = register(&world, &key(1), json!({"agent_id": "one"})).await;
    assert_eq!(refused["error"], "enrolment_required");
    let refused = register(&world, &key(1), with("one", &json!("wrong"))).await;
    assert_eq!(refused["error"], "enrolment_token_invalid");
    assert!(!refused.to_string().contains("wrong"));
    let made = register(&world, &key(1), with("one", &json!("the-networks-own"))).await;
    assert!(made["account_id"].is_string(), "{made}");
    bind(&world, &made, &key(1)).await;
    // Nobody joins an account by its name, with whatever token.
    let joining = json!({"agent_id": "x", "username": "one", "enrolment_token": "the-networks-own"});
    assert_eq!(register(&world, &key(2), joining).await["error"], "auth_public_key_mismatch");
    // Names that are one after normalisation.
    let joining = json!({"agent_id": "x", "username": " ONE ", "enrolment_token": "the-networks-own"});
    assert_eq!(register(&world, &key(2), joining).await["error"], "auth_public_key_mismatch");

    // A token is good for its uses and its time, and its hash alone is kept.
    let token = operator.call("enrol", json!({"uses": 2, "note": "two agents"})).await["token"].clone();
    for (seed, name) in [(3, "three"), (4, "four")] {
        let made = register(&world, &key(seed), with(name, &token)).await;
        assert!(made["account_id"].is_string(), "{made}");
    }
    assert_eq!(register(&world, &key(5), with("five", &token)).await["error"], "enrolment_token_invalid");
    let token = operator.call("enrol", json!({})).await["token"].clone();
    sqlx::query("UPDATE agent_enrolment_tokens SET expires_at = now()").execute(&world.pool).await.unwrap();
    assert_eq!(register(&world, &key(5), with("five", &token)).await["error"], "enrolment_token_invalid");
    let kept: String = sqlx::query_scalar("SELECT string_agg(t::text, '') FROM agent_enrolment_tokens t")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(!kept.contains(token.as_str().unwrap()));

    // An account without a key takes one from whoever has the token for it.
    let keyless = Asking::new(&world, 'k').await;
    sqlx::query("DELETE FROM agent_keys WHERE account_id = $1")
        .bind(&keyless.id)
        .execute(&world.pool)
        .await
        .unwrap();
    let as_k = |token: &Value| json!({"agent_id": "k", "username": "k", "enrolment_token": token});
    let other = operator.call("enrol", json!({})).await["token"].clone();
    assert_eq!(register(&world, &key(6), as_k(&other)).await["error"], "enrolment_token_invalid");
    let token = operator.call("enrol", json!({"target": "k"})).await["token"].clone();
    assert_eq!(register(&world, &key(6), with("six", &token)).await["error"], "enrolment_token_invalid");
    assert_eq!(register(&world, &key(6), as_k(&token)).await["account_id"], json!(keyless.id));
    assert_eq!(register(&world, &key(7), as_k(&token)).await["error"], "auth_public_key_mismatch");
    assert_eq!(operator.error("enrol", json!({"target": "k"})).await, "auth_public_key_mismatch");
    registry.stop().await;
}

#[tokio::test]
async fn operators_alone_or_everybody() {
    let world = World::new().await;
    let named = key(9).verifying().to_string();
    let strict = [
        ("AGENTNET_ENROLMENT", "operator"),
        ("AGENTNET_ENROLMENT_TOKEN", "the-networks-own"),
        ("AGENTNET_OPERATOR_KEYS", named.as_str()),
    ];
    let registry = world.registry(&[&secure()[..], &strict].concat()).await;
    let refused = register(&world, &key(1), with("one", &json!("the-networks-own"))).await;
    assert_eq!(refused["error"], "enrolment_token_invalid");
    // Who runs the network comes in first.
    let made = register(&world, &key(9), json!({"agent_id": "root"})).await;
    bind(&world, &made, &key(9)).await;
    let id = made["account_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let root = Asking { client: connect(&world.nats, &id).await, id, key: key(9) };
    let token = root.call("enrol", json!({})).await["token"].clone();
    assert!(register(&world, &key(1), with("one", &token)).await["account_id"].is_string());
    registry.stop().await;
    let registry = world.registry(&[&secure()[..], &[("AGENTNET_ENROLMENT", "open")]].concat()).await;
    assert!(register(&world, &key(2), json!({"agent_id": "two"})).await["account_id"].is_string());
    registry.stop().await;
}
