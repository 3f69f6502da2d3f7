//! People and machines that come in over HTTP: what the registry does for the gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use agentnet_proto::rpc::TokenKey;
use agentnet_proto::signature::SecretKey;
use agentnet_proto::{Clock as _, SystemClock, access_token};
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};
use support::secure::{Asking, key_of, secure};
use support::{PATIENCE, World};

const SECRET: (&str, &str) = ("AGENTNET_TOKEN_SECRET", "a secret of this test, long enough for it");

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

async fn good(world: &World, method: &str, body: Value) -> Value {
    let answer = world.call(method, body).await;
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer
}

/// A fresh session key, as gateways make one for every login.
fn session_key() -> String {
    SecretKey::generate().verifying().to_nkey()
}

fn login(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password, "session_key": session_key(), "address": "192.0.2.1"})
}

#[tokio::test]
async fn a_person_logs_in_refreshes_and_leaves() {
    let world = World::new().await;
    let registry = world.registry(&[SECRET]).await;
    let made = good(&world, "user_create", json!({"username": "Ann", "password": "correct horse"})).await;
    let ann = text(&made["user"], "account_id").to_owned();
    assert_eq!((text(&made["user"], "username"), text(&made["user"], "role")), ("ann", "user"));
    assert_eq!(
        world.error("user_create", json!({"username": "@ann", "password": "12345678"})).await,
        "username_taken"
    );
    assert_eq!(
        world.error("user_create", json!({"username": "bob", "password": "1234567"})).await,
        "password_unsuitable"
    );
    for wrong in [login("ann", "correct horsE"), login("nobody", "correct horse"), login("ann", "")] {
        assert_eq!(world.error("user_login", wrong).await, "invalid_credentials");
    }
    let first = good(&world, "user_login", login("@Ann", "correct horse")).await;
    assert_eq!((text(&first, "account_id"), &first["expires_in"]), (ann.as_str(), &json!(1800)));
    // Verified without the registry.
    let keys = good(&world, "token_keys", json!({})).await;
    let known: Vec<TokenKey> = serde_json::from_value(keys["keys"].clone()).unwrap();
    let token = text(&first, "access_token");
    let claims = access_token::verify(token, &known, text(&keys, "issuer"), SystemClock.now()).unwrap();
    assert_eq!(
        (claims.sub.as_str(), claims.username.as_str(), claims.role.as_str()),
        (ann.as_str(), "ann", "user")
    );

    let refresh = |token: &str| json!({"refresh_token": token, "session_key": session_key()});
    let second = good(&world, "user_refresh", refresh(text(&first, "refresh_token"))).await;
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_eq!(world.error("user_refresh", refresh("anr_made_up")).await, "refresh_invalid");
    // Used again: somebody has a copy, so nobody goes on with this login.
    assert_eq!(world.error("user_refresh", refresh(text(&first, "refresh_token"))).await, "refresh_reused");
    assert_eq!(world.error("user_refresh", refresh(text(&second, "refresh_token"))).await, "login_ended");
    let session = |token: &str| json!({"access_token": token, "session_key": session_key()});
    assert_eq!(world.error("user_session", session(text(&second, "access_token"))).await, "login_ended");

    let third = good(&world, "user_login", login("ann", "correct horse")).await;
    let token = text(&third, "access_token");
    assert_eq!(text(&good(&world, "user_session", session(token)).await, "account_id"), ann);
    let ticket = good(&world, "ws_ticket_create", json!({"access_token": token})).await;
    let redeem = json!({"ticket": ticket["ticket"], "session_key": session_key()});
    assert_eq!(text(&good(&world, "ws_ticket_redeem", redeem.clone()).await, "username"), "ann");
    assert_eq!(world.error("ws_ticket_redeem", redeem).await, "ticket_invalid");
    let left = good(&world, "user_logout", json!({"access_token": token})).await;
    assert_eq!((text(&left, "account_id"), &left["ended_keys"]), (ann.as_str(), &json!(3)));
    assert_eq!(good(&world, "user_logout", json!({"access_token": token})).await["ended_keys"], json!(0));
    assert_eq!(world.error("user_session", session(token)).await, "login_ended");
    assert_eq!(world.error("user_session", session("x.y.z")).await, "token_malformed");
    registry.stop().await;
}

#[tokio::test]
async fn without_a_secret_nobody_logs_in() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    good(&world, "user_create", json!({"username": "ann", "password": "correct horse"})).await;
    assert_eq!(world.error("user_login", login("ann", "correct horse")).await, "login_unavailable");
    assert_eq!(world.error("token_keys", json!({})).await, "login_unavailable");
    registry.stop().await;
}

#[tokio::test]
async fn guessing_slows_down_alike_for_users_that_exist_and_that_dont() {
    let world = World::new().await;
    let registry = world.registry(&[SECRET]).await;
    good(&world, "user_create", json!({"username": "ann", "password": "correct horse"})).await;
    let from = |name: &str, password: &str, address: &str| json!({"username": name, "password": password, "address": address});
    for (name, address) in [("ann", "192.0.2.7"), ("nobody", "192.0.2.8")] {
        for _ in 0..5 {
            assert_eq!(
                world.error("user_login", from(name, "wrong horse", address)).await,
                "invalid_credentials"
            );
        }
        // Not even the right one, and from wherever.
        let refused = world.call("user_login", from(name, "correct horse", "198.51.100.1")).await;
        assert_eq!(
            (text(&refused, "error"), &refused["retry_after_s"]),
            ("login_throttled", &json!(1)),
            "{name}"
        );
        assert_eq!(refused["retryable"], json!(true));
    }
    // It is over in a second, and forgotten with the login that succeeds.
    eventually(PATIENCE, || async {
        world.call("user_login", from("ann", "correct horse", "198.51.100.1")).await.get("error").is_none()
    })
    .await;
    for _ in 0..2 {
        assert_eq!(world.error("user_login", from("ann", "x", "198.51.100.1")).await, "invalid_credentials");
    }
    good(&world, "user_login", from("ann", "correct horse", "198.51.100.1")).await;
    // One address that tries many names.
    let mut codes = Vec::new();
    for n in 0..31 {
        codes.push(world.error("user_login", from(&format!("u{n}"), "x", "203.0.113.5")).await);
    }
    assert_eq!((codes[29].as_str(), codes[30].as_str()), ("invalid_credentials", "login_throttled"));
    registry.stop().await;
}

#[tokio::test]
async fn passwords_are_kept_as_hashes_of_todays_cost_and_can_be_changed() {
    let world = World::new().await;
    let registry = world.registry(&[SECRET]).await;
    let made = good(&world, "user_create", json!({"username": "ann", "password": "correct horse"})).await;
    let ann = text(&made["user"], "account_id").to_owned();
    let kept = || async {
        let sql = "SELECT password_phc FROM agent_credentials WHERE account_id = $1";
        sqlx::query_scalar::<_, String>(sql).bind(&ann).fetch_one(&world.pool).await.unwrap()
    };
    assert!(kept().await.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"));
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    let weak = weak.hash_password(b"correct horse").unwrap().to_string();
    sqlx::query("UPDATE agent_credentials SET password_phc = $2 WHERE account_id = $1")
        .bind(&ann)
        .bind(&weak)
        .execute(&world.pool)
        .await
        .unwrap();
    let first = good(&world, "user_login", login("ann", "correct horse")).await;
    assert!(kept().await.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "hashed anew");
    let change = |old: &str, new: &str| json!({"account_id": ann, "old_password": old, "new_password": new});
    assert_eq!(
        world.error("user_set_password", change("wrong horse", "battery staple")).await,
        "invalid_credentials"
    );
    assert_eq!(
        world.error("user_set_password", change("correct horse", "short")).await,
        "password_unsuitable"
    );
    good(&world, "user_set_password", change("correct horse", "battery staple")).await;
    let session = json!({"access_token": first["access_token"], "session_key": session_key()});
    assert_eq!(world.error("user_session", session).await, "login_ended");
    assert_eq!(world.error("user_login", login("ann", "correct horse")).await, "invalid_credentials");
    let second = good(&world, "user_login", login("ann", "battery staple")).await;
    good(&world, "user_disable", json!({"target": "ann"})).await;
    assert_eq!(world.error("user_login", login("ann", "battery staple")).await, "suspended");
    let refresh = json!({"refresh_token": second["refresh_token"], "session_key": session_key()});
    assert_eq!(world.error("user_refresh", refresh).await, "login_ended");
    good(&world, "user_enable", json!({"target": "@ann"})).await;
    good(&world, "user_login", login("ann", "battery staple")).await;
    let listed = good(&world, "user_list", json!({})).await;
    let row = &listed["users"][0];
    assert_eq!((text(row, "username"), text(row, "status")), ("ann", "active"));
    assert!(row["last_login_at"].is_string());
    registry.stop().await;
}

#[tokio::test]
async fn machines_come_in_with_api_keys_and_replicas_share_what_signs() {
    let world = World::new().await;
    let first = world.registry(&[SECRET, ("REGISTRY_SERVER_ID", "one")]).await;
    let second = world.registry(&[SECRET, ("REGISTRY_SERVER_ID", "two")]).await;
    let agent = world.register(json!({"agent_id": "ci", "username": "ci"})).await;
    let ci = text(&agent, "account_id").to_owned();
    let make = |scopes: Value, expires: Value| json!({"account_id": ci, "name": "build", "scopes": scopes, "expires_at": expires});
    assert_eq!(world.error("api_key_create", make(json!(["all"]), Value::Null)).await, "invalid_field");
    assert_eq!(
        world.error("api_key_create", make(json!([]), json!("2020-01-01T00:00:00Z"))).await,
        "invalid_field"
    );
    let made = good(&world, "api_key_create", make(json!(["send", "read"]), Value::Null)).await;
    let (api_key, key_id) = (text(&made, "api_key").to_owned(), text(&made["key"], "key_id").to_owned());
    assert!(api_key.starts_with(&format!("ank_{key_id}_")));
    let come = |key: &str| json!({"api_key": key, "session_key": session_key(), "address": "192.0.2.1"});
    let keys = good(&world, "token_keys", json!({})).await;
    let known: Vec<TokenKey> = serde_json::from_value(keys["keys"].clone()).unwrap();
    assert_eq!(known.len(), 1);
    for _ in 0..8 {
        // Whichever replica answers.
        let answer = good(&world, "api_key_login", come(&api_key)).await;
        assert_eq!((text(&answer, "role"), &answer["scopes"]), ("agent", &json!(["read", "send"])));
        assert!(answer.get("refresh_token").is_none());
        let claims =
            access_token::verify(text(&answer, "access_token"), &known, "agentnet", SystemClock.now());
        let claims = claims.unwrap();
        assert!(claims.allows("send") && !claims.allows("manage"));
    }
    let last = if api_key.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &api_key[..api_key.len() - 1]);
    for wrong in [other.as_str(), "ank_x_y", ""] {
        assert_eq!(world.error("api_key_login", come(wrong)).await, "api_key_invalid", "{wrong}");
    }
    let kept: String = sqlx::query_scalar("SELECT agent_api_keys::text FROM agent_api_keys")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(!kept.contains(&api_key[31..]), "{kept}");
    let answer = good(&world, "api_key_login", come(&api_key)).await;
    good(&world, "api_key_revoke", json!({"key_id": key_id})).await;
    assert_eq!(world.error("api_key_login", come(&api_key)).await, "api_key_invalid");
    let session = json!({"access_token": answer["access_token"], "session_key": session_key()});
    assert_eq!(world.error("user_session", session).await, "login_ended");
    let listed = good(&world, "api_key_list", json!({"account_id": ci})).await;
    assert!(listed["keys"][0]["revoked_at"].is_string() && listed["keys"][0]["last_used_at"].is_string());
    first.stop().await;
    second.stop().await;
}

/// In secure mode only the gateway may show what somebody gave it, and only what it was given.
#[tokio::test]
async fn only_gateways_log_in_and_only_with_what_they_were_shown() {
    let world = World::new().await;
    let (root, gate) =
        (key_of('r').verifying().to_string(), SecretKey::from_seed(&[77; 32]).verifying().to_nkey());
    let settings = [
        &secure()[..],
        &[SECRET, ("AGENTNET_OPERATOR_KEYS", root.as_str()), ("AGENTNET_GATEWAY_KEYS", gate.as_str())],
    ]
    .concat();
    let registry = world.registry(&settings).await;
    let (r, a) = (Asking::new(&world, 'r').await, Asking::new(&world, 'a').await);
    // The registry made the gateway's account.
    let (id, role): (String, String) =
        sqlx::query_as("SELECT account_id, role FROM agent_accounts WHERE username = 'gateway'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert_eq!(role, "gateway");
    let client = support::secure::connect(&world.nats, &id).await;
    let g = Asking { id, client, key: SecretKey::from_seed(&[77; 32]) };
    let create = json!({"username": "ann", "password": "correct horse"});
    assert_eq!(a.error("user_create", create.clone()).await, "forbidden");
    assert_eq!(g.error("user_create", create.clone()).await, "signup_disabled");
    let made = r.call("user_create", create).await;
    let ann = text(&made["user"], "account_id").to_owned();
    assert_eq!(a.error("user_list", json!({})).await, "forbidden");
    assert_eq!(a.error("user_disable", json!({"target": "ann"})).await, "forbidden");
    assert_eq!(
        a.error("user_set_password", json!({"target": "ann", "new_password": "battery staple"})).await,
        "forbidden"
    );
    for asker in [&a, &r] {
        assert_eq!(asker.error("user_login", login("ann", "correct horse")).await, "forbidden");
        assert_eq!(
            asker.error("ws_ticket_redeem", json!({"ticket": "x", "session_key": session_key()})).await,
            "forbidden"
        );
    }
    let mut keyless = login("ann", "correct horse");
    keyless["session_key"] = Value::Null;
    // Such a login binds nothing yet; whoever goes on with it brings a key.
    let unbound = g.call("user_login", keyless).await;
    assert!(unbound.get("session_expires_at").is_none_or(Value::is_null), "{unbound}");
    let join = json!({"access_token": unbound["access_token"]});
    assert_eq!(g.error("user_session", join).await, "invalid_field");
    // A key that is somebody's is nobody else's.
    let mut of_another = login("ann", "correct horse");
    of_another["session_key"] = json!(a.key.verifying().to_nkey());
    assert_eq!(g.error("user_login", of_another).await, "auth_public_key_mismatch");
    let session = SecretKey::generate();
    let mut body = login("ann", "correct horse");
    body["session_key"] = json!(session.verifying().to_nkey());
    let answer = g.call("user_login", body).await;
    assert_eq!(text(&answer, "account_id"), ann);
    // The key speaks for ann now, and for nothing that takes her own.
    let client = support::secure::connect(&world.nats, &ann).await;
    let by_session = Asking { id: ann.clone(), client, key: session };
    assert!(by_session.call("thread_list", json!({})).await.get("error").is_none());
    assert_eq!(by_session.error("enrol", json!({})).await, "session_key_forbidden");
    let made = by_session.call("api_key_create", json!({"name": "mine"})).await;
    assert_eq!(text(&made["key"], "account_id"), ann);
    assert_eq!(
        by_session.error("api_key_create", json!({"name": "hers", "target": a.id})).await,
        "forbidden"
    );
    assert_eq!(a.error("api_key_revoke", json!({"key_id": made["key"]["key_id"]})).await, "not_found");
    let asked = json!({"account_id": ann, "public_key": by_session.key.public_key()});
    let resolved = a.call("resolve_key", asked).await;
    assert_eq!(text(&resolved, "public_key"), by_session.key.public_key());
    assert!(resolved["expires_at"].is_string());
    assert_eq!(a.error("resolve_key", json!({"account_id": ann})).await, "not_found", "no key of her own");
    // A login with an API key makes no others.
    let machine = SecretKey::generate();
    let body = json!({"api_key": made["api_key"], "session_key": machine.verifying().to_nkey()});
    assert_eq!(text(&g.call("api_key_login", body).await, "account_id"), ann);
    let client = support::secure::connect(&world.nats, &ann).await;
    let by_machine = Asking { id: ann.clone(), client, key: machine };
    assert_eq!(by_machine.error("api_key_create", json!({"name": "more"})).await, "session_key_forbidden");
    // After the logout the key is nobody's, and none can be bound to what ended.
    let out = g.call("user_logout", json!({"refresh_token": answer["refresh_token"]})).await;
    assert_eq!(out["ended_keys"], json!(1));
    assert_eq!(by_session.error("thread_list", json!({})).await, "auth_public_key_mismatch");
    let again = json!({"refresh_token": answer["refresh_token"], "session_key": by_session.key.verifying().to_nkey()});
    assert_eq!(g.error("user_refresh", again).await, "login_ended");
    let mut same = login("ann", "correct horse");
    same["session_key"] = json!(by_session.key.verifying().to_nkey());
    assert_eq!(
        g.error("user_login", same).await,
        "auth_public_key_mismatch",
        "a key that ended never comes back"
    );
    registry.stop().await;
}

#[tokio::test]
async fn people_sign_up_where_the_network_lets_them() {
    let world = World::new().await;
    let registry = world.registry(&[SECRET, ("AGENTNET_SIGNUP", "true")]).await;
    let up =
        |role: Value| json!({"username": "ann", "password": "correct horse", "signup": true, "role": role});
    assert_eq!(world.error("user_create", up(json!("operator"))).await, "forbidden");
    assert_eq!(world.error("user_create", up(json!("king"))).await, "invalid_field");
    good(&world, "user_create", up(Value::Null)).await;
    registry.stop().await;
    let closed = world.registry(&[SECRET]).await;
    assert_eq!(
        world
            .error("user_create", json!({"username": "bob", "password": "correct horse", "signup": true}))
            .await,
        "signup_disabled"
    );
    closed.stop().await;
}
