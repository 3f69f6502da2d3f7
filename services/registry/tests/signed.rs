//! `AGENTNET_SECURITY=signed`: who registers proves it, and nothing changes before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::dev_auth::{AuthBlock, Claims, RegisterClaims, SecretKey};
use agentnet_proto::ids::{IdGen as _, SystemIds};
use agentnet_proto::{Clock as _, SystemClock};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::World;

fn claims(agent_id: &str, name: &str, username: &str, account_id: &str) -> Claims {
    let timestamp = SystemClock.now().to_string();
    let nonce = SystemIds::new(SystemClock::shared()).nonce();
    RegisterClaims { agent_id, name, username, account_id, timestamp: &timestamp, nonce: &nonce }.to_claims()
}

fn signed(key: &SecretKey, body: Value, claims: Claims) -> Value {
    let mut body = body;
    body["auth"] = Value::Object(AuthBlock::sign(key, claims).to_map());
    body
}

fn with(mut claims: Claims, name: &str, value: &str) -> Claims {
    claims.insert(name.to_owned(), value.to_owned());
    claims
}

#[tokio::test]
async fn every_check_in_its_order_and_nothing_written_before() {
    let world = World::new().await;
    let registry = world.registry(&[("DEV_AUTH", "true")]).await;
    let key = SecretKey::from_seed(&[7; 32]);
    let body = json!({"agent_id": "sig", "name": "Sig", "username": "sig"});
    let good = || claims("sig", "Sig", "sig", "");
    let mut broken_scheme = signed(&key, body.clone(), good());
    broken_scheme["auth"]["scheme"] = json!("v0");
    let mut no_key = signed(&key, body.clone(), good());
    no_key["auth"]["public_key"] = json!("");
    let mut forged = signed(&key, body.clone(), good());
    forged["auth"]["claims"]["extra"] = json!("added later");
    let long_ago = with(good(), "timestamp", "2020-01-01T00:00:00Z");
    for (request, expected) in [
        (body.clone(), "auth_required"),
        (json!({"agent_id": "sig", "auth": "text"}), "auth_required"),
        (broken_scheme, "auth_scheme_invalid"),
        (no_key, "auth_payload_invalid"),
        (signed(&key, body.clone(), with(good(), "nonce", "")), "auth_claims_invalid"),
        (signed(&key, body.clone(), with(good(), "nonce", &"n".repeat(500))), "auth_claims_invalid"),
        (signed(&key, body.clone(), claims("other", "Sig", "sig", "")), "auth_claims_agent_mismatch"),
        (signed(&key, body.clone(), claims("sig", "Other", "sig", "")), "auth_claims_name_mismatch"),
        (signed(&key, body.clone(), claims("sig", "Sig", "other", "")), "auth_claims_username_mismatch"),
        (signed(&key, body.clone(), claims("sig", "Sig", "", "")), "auth_claims_username_mismatch"),
        (
            signed(&key, body.clone(), claims("sig", "Sig", "sig", "acct_other")),
            "auth_claims_account_mismatch",
        ),
        (signed(&key, body.clone(), with(good(), "timestamp", "soon")), "auth_claims_timestamp_invalid"),
        (signed(&key, body.clone(), long_ago), "auth_claims_timestamp_skew"),
        (forged, "auth_signature_invalid"),
    ] {
        assert_eq!(world.error("register", request.clone()).await, expected, "{request}");
    }
    let count = async |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&world.pool).await.unwrap()
    };
    // Beside the network's own account.
    let agents = "agent_accounts WHERE kind <> 'service'";
    for table in [agents, "agent_sessions", "agent_keys WHERE kind = 'own'", "agent_auth_nonces"] {
        assert_eq!(count(table).await, 0, "{table}");
    }

    // The first key binds; the same request is not taken twice, not even by another replica.
    let request = signed(&key, body.clone(), good());
    let mut news = world.client.subscribe("agentnet.events.keys").await.unwrap();
    world.client.flush().await.unwrap();
    let answer = world.register(request.clone()).await;
    let event = tokio::time::timeout(support::PATIENCE, news.next()).await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!((&event["account_id"], &event["change"]), (&answer["account_id"], &json!("bound")));
    assert_eq!((&event["usernames"], &event["public_key"]), (&json!(["sig"]), &json!(key.public_key())));
    let id = answer["account_id"].as_str().unwrap().to_owned();
    assert_eq!(world.call("resolve_key", json!({"account_id": id})).await["public_key"], key.public_key());
    let replica = world.registry(&[("AGENTNET_SECURITY", "signed"), ("REGISTRY_SERVER_ID", "second")]).await;
    for _ in 0..6 {
        assert_eq!(world.error("register", request.clone()).await, "auth_nonce_replayed");
    }
    world.register(signed(&key, body.clone(), good())).await;

    // Another key is refused, and the profile stays as it was (D3).
    let thief = SecretKey::from_seed(&[8; 32]);
    let theft = json!({"agent_id": "sig", "name": "Thief", "username": "sig", "capabilities": ["stolen"]});
    let theft = signed(&thief, theft, claims("sig", "Thief", "sig", ""));
    assert_eq!(world.error("register", theft).await, "auth_public_key_mismatch");
    assert_eq!(world.error("register", json!({"agent_id": "sig", "name": "Thief"})).await, "auth_required");
    let profile = world.call("profile", json!({"account_id": id})).await["profile"].clone();
    assert_eq!((&profile["display_name"], &profile["capabilities"]), (&json!("Sig"), &json!([])));

    // Without a username in the request the claim may be empty or the normalised agent_id (D6).
    let plain = json!({"agent_id": "No Name", "name": "N"});
    for username in ["", "no_name"] {
        let answer = world.register(signed(&key, plain.clone(), claims("No Name", "N", username, ""))).await;
        assert_eq!(answer["username"], "no_name");
    }

    // An account made without a key can't be taken over by whoever comes first.
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at) \
         VALUES ('acct_open', 'keyless', 'Open', now(), now())",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let grab =
        signed(&thief, json!({"agent_id": "keyless", "name": "K"}), claims("keyless", "K", "keyless", ""));
    assert_eq!(world.error("register", grab).await, "auth_public_key_mismatch");
    // Nor may an unsigned hello make an account.
    world.publish("hello", &json!({"agent_id": "sneaky", "session_tag": "t"})).await;
    world.call("list", json!({})).await;
    assert_eq!(world.error("resolve_account", json!({"username": "sneaky"})).await, "not_found");
    registry.stop().await;
    replica.stop().await;
}

#[tokio::test]
async fn the_network_says_its_name_and_mode() {
    let world = World::new().await;
    let registry =
        world.registry(&[("AGENTNET_SECURITY", "signed"), ("AGENTNET_DEPLOYMENT", "here.1")]).await;
    let expected =
        json!({"deployment": "here.1", "security": "signed", "schema_version": "1.2", "account": null});
    assert_eq!(world.call("network", json!({})).await, expected);
    registry.stop().await;
}

#[tokio::test]
async fn open_mode_ignores_signatures() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    world.register(json!({"agent_id": "a", "auth": {"scheme": "nonsense"}})).await;
    registry.stop().await;
}
