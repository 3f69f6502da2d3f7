//! Threads with members: who may change them, and who sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::agents::persister;
use support::secure::{Asking, id, secure, texts};
use support::{PATIENCE, World, rows};

fn members(answer: &Value) -> Vec<(String, String, String)> {
    let rows = answer["members"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "account_id"), text(row, "role"), text(row, "state"))).collect()
}

fn row(letter: char, role: &str, state: &str) -> (String, String, String) {
    (id(letter), role.to_owned(), state.to_owned())
}

#[tokio::test]
async fn owners_invite_and_eject_and_others_dont_learn_of_it() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let m = Asking::new(&world, 'm').await;
    let made = a.call("thread_create", json!({"title": "Plans", "invite": [b.id, b.id]})).await;
    assert_eq!(members(&made), [row('a', "owner", "joined"), row('b', "member", "invited")]);
    let thread = made["thread_id"].as_str().unwrap().to_owned();
    let of = |body: Value| {
        let mut body = body;
        body["thread_id"] = json!(thread);
        body
    };
    // Strangers see nothing, whatever they ask.
    for (method, body) in [
        ("thread_members", json!({})),
        ("thread_join", json!({})),
        ("thread_leave", json!({})),
        ("thread_invite", json!({"invite": [m.id]})),
        ("thread_eject", json!({"eject": [b.id]})),
        ("thread_status", json!({})),
    ] {
        assert_eq!(m.error(method, of(body)).await, "not_found", "{method}");
    }
    assert_eq!(m.thread(&thread).await, Vec::<String>::new());
    assert_eq!(m.error("thread_create", json!({"thread_id": thread})).await, "thread_exists");
    // Nobody asks as somebody else.
    assert_eq!(
        m.error("thread_invite", of(json!({"account_id": a.id, "invite": [m.id]}))).await,
        "forbidden"
    );
    assert_eq!(m.error("thread_create", json!({"account_id": a.id})).await, "forbidden");

    // Invited is not in yet, but sees who is there.
    assert_eq!(members(&b.call("thread_members", of(json!({}))).await).len(), 2);
    assert_eq!(b.error("thread_invite", of(json!({"invite": [m.id]}))).await, "not_found");
    let joined = b.call("thread_join", of(json!({}))).await;
    assert_eq!(members(&joined), [row('a', "owner", "joined"), row('b', "member", "joined")]);
    assert_eq!(members(&b.call("thread_join", of(json!({}))).await), members(&joined));
    assert_eq!(b.error("thread_invite", of(json!({"invite": [c.id]}))).await, "forbidden");
    assert_eq!(b.error("thread_eject", of(json!({"eject": [a.id]}))).await, "forbidden");
    assert_eq!(a.error("thread_eject", of(json!({"eject": [a.id]}))).await, "thread_owner");
    // Inviting again changes nothing; an unknown account changes nothing either.
    let again = a.call("thread_invite", of(json!({"invite": [b.id, c.id]}))).await;
    assert_eq!(members(&again)[1..], [row('b', "member", "joined"), row('c', "member", "invited")]);
    assert_eq!(a.error("thread_invite", of(json!({"invite": [m.id, id('z')]}))).await, "not_found");
    assert_eq!(a.error("thread_invite", of(json!({"invite": ["a.b"]}))).await, "invalid_account_id");

    assert_eq!(texts(&b.call("thread_list", json!({})).await, "results", "thread_id"), [thread.as_str()]);
    // Whoever was put out comes back by invitation only, and reads nothing meanwhile.
    a.call("thread_eject", of(json!({"eject": [b.id]}))).await;
    assert_eq!(b.error("thread_join", of(json!({}))).await, "not_found");
    assert_eq!(b.error("thread_members", of(json!({}))).await, "not_found");
    assert_eq!(texts(&b.call("thread_list", json!({})).await, "results", "thread_id"), Vec::<String>::new());
    a.call("thread_invite", of(json!({"invite": [b.id]}))).await;
    b.call("thread_join", of(json!({}))).await;
    // The last owner hands over to the one who came first.
    let left = a.call("thread_leave", of(json!({}))).await;
    assert_eq!(members(&left), [row('a', "member", "left")]);
    assert_eq!(members(&b.call("thread_members", of(json!({}))).await)[0], row('b', "owner", "joined"));
    registry.stop().await;
}

#[tokio::test]
async fn anybody_joins_a_public_thread_up_to_the_limit() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let made = a.call("thread_create", json!({"thread_id": "square", "public": true})).await;
    assert_eq!((&made["thread_id"], &made["public"]), (&json!("square"), &json!(true)));
    assert_eq!(b.thread("square").await, Vec::<String>::new());
    b.call("thread_join", json!({"thread_id": "square"})).await;
    a.call("thread_eject", json!({"thread_id": "square", "eject": [b.id]})).await;
    assert_eq!(b.error("thread_join", json!({"thread_id": "square"})).await, "not_found");
    sqlx::query(
        "WITH made AS (INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at) \
         SELECT 'x' || n, 'x' || n, '', now(), now() FROM generate_series(1, 255) n RETURNING account_id) \
         INSERT INTO agent_thread_members (thread_id, account_id, state, created_at, updated_at) \
         SELECT 'square', account_id, 'joined', now(), now() FROM made",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    assert_eq!(c.error("thread_join", json!({"thread_id": "square"})).await, "thread_full");
    assert_eq!(
        a.error("thread_invite", json!({"thread_id": "square", "invite": [c.id]})).await,
        "thread_full"
    );
    registry.stop().await;
}

/// A thread id that messages stand under already isn't taken over, and the other way round.
#[tokio::test]
async fn a_thread_id_is_one_thread() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let _persisting = persister(&world).await;
    let (a, m) = (Asking::new(&world, 'a').await, Asking::new(&world, 'm').await);
    rows::thread(&world.pool, "taken", &[&a.id], Some("2026-02-21T08:00:00Z")).await;
    assert_eq!(m.error("thread_create", json!({"thread_id": "taken"})).await, "thread_exists");
    a.call("thread_create", json!({"thread_id": "ours"})).await;
    // A stranger writes into it: to the whole thread, and to a member of it.
    let mut refused = world.client.subscribe(format!("account.{}.stored", m.id)).await.unwrap();
    world.client.flush().await.unwrap();
    world.send("s1", &m.id, &a.id, json!({"thread_id": "ours"})).await;
    world.send("s2", &m.id, &a.id, json!({"thread_id": "ours", "to_agent": "thread:ours"})).await;
    // A thread without members takes nothing that is addressed to all of it.
    world.send("s3", &m.id, &a.id, json!({"thread_id": "nowhere", "to_agent": "thread:nowhere"})).await;
    world.send("s4", &m.id, &a.id, json!({"thread_id": "other", "to_agent": "thread:ours"})).await;
    world.send("fine", &m.id, &a.id, json!({"thread_id": "mine"})).await;
    let (mut failed, mut stored) = (Vec::new(), Vec::new());
    while failed.len() + stored.len() < 5 {
        let notice: Value =
            serde_json::from_slice(&support::agents::next_message(&mut refused).await.payload).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        failed.extend(
            notice["failed"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|f| (text(&f["message_id"]), text(&f["code"]))),
        );
        stored.extend(notice["message_ids"].as_array().into_iter().flatten().map(text));
    }
    failed.sort();
    let pairs: Vec<(&str, &str)> = failed.iter().map(|(id, code)| (id.as_str(), code.as_str())).collect();
    let forbidden = "thread_forbidden";
    assert_eq!(pairs, [("s1", forbidden), ("s2", forbidden), ("s3", forbidden), ("s4", "invalid_field")]);
    assert_eq!(stored, ["fine"]);
    assert_eq!(a.thread("ours").await, Vec::<String>::new());
    assert_eq!(m.error("thread_status", json!({"thread_id": "ours"})).await, "not_found");
    registry.stop().await;
}

#[tokio::test]
async fn in_open_mode_a_request_says_who_asks() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let a = world.register(json!({"agent_id": "ann"})).await["account_id"].as_str().unwrap().to_owned();
    assert_eq!(world.error("thread_create", json!({})).await, "account_id is required");
    assert_eq!(world.error("thread_create", json!({"account_id": "acct_nobody"})).await, "not_found");
    let made = world.call("thread_create", json!({"account_id": a, "title": "T\u{1b}[2J"})).await;
    assert_eq!(made["error"], "invalid_field");
    let made = world.call("thread_create", json!({"account_id": a, "thread_id": "t"})).await;
    assert_eq!(made["members"][0]["username"], "ann");
    registry.stop().await;
}

/// In signed mode only threads with members are closed.
#[tokio::test]
async fn signed_mode_closes_threads_with_members() {
    let world = World::new().await;
    let secure = world.registry(&secure()).await;
    let a = Asking::new(&world, 'a').await;
    a.call("thread_create", json!({"thread_id": "closed"})).await;
    secure.stop().await;
    let registry = world.registry(&[("DEV_AUTH", "true")]).await;
    for (id, thread) in [("m1", "closed"), ("m2", "open")] {
        rows::message(&world.pool, id, thread, "2026-02-21T08:00:00Z", json!({})).await;
    }
    rows::thread(&world.pool, "open", &["acct_a"], Some("2026-02-21T08:00:00Z")).await;
    let ids = |answer: Value, list: &str, name: &str| texts(&answer, list, name);
    let (read, world) = (|thread: &str| world.call("thread_messages", json!({"thread_id": thread})), &world);
    assert_eq!(ids(read("closed").await, "messages", "message_id"), Vec::<String>::new());
    assert_eq!(ids(read("open").await, "messages", "message_id"), ["m2"]);
    assert_eq!(ids(world.call("message_search", json!({"q": "hi"})).await, "messages", "message_id"), ["m2"]);
    assert_eq!(ids(world.call("thread_list", json!({})).await, "results", "thread_id"), ["open"]);
    assert_eq!(world.error("why", json!({"message_id": "m1"})).await, "not_found");
    assert_eq!(world.error("thread_members", json!({"thread_id": "closed"})).await, "not_found");
    registry.stop().await;
}

#[tokio::test]
async fn what_waits_for_an_ejected_member_ends() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let _persisting = persister(&world).await;
    let (a, b) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    a.call("thread_create", json!({"thread_id": "t", "invite": [b.id]})).await;
    b.call("thread_join", json!({"thread_id": "t"})).await;
    world
        .send("m1", &a.id, &b.id, json!({"thread_id": "t", "to_agent": "thread:t", "to_account_id": null}))
        .await;
    let state = || async {
        let answer = a.call("deliveries", json!({"message_id": "m1"})).await;
        let rows = answer["deliveries"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["recipient"].clone(), row["state"].clone())).collect::<Vec<_>>()
    };
    eventually(PATIENCE, || async { state().await == [(json!(b.id), json!("pending"))] }).await;
    assert_eq!(b.thread("t").await, ["m1"]);
    a.call("thread_eject", json!({"thread_id": "t", "eject": [b.id]})).await;
    assert_eq!(state().await, [(json!(b.id), json!("rejected"))]);
    assert_eq!(b.thread("t").await, Vec::<String>::new());
    assert_eq!(b.messages("message_search", json!({})).await, Vec::<String>::new());
    registry.stop().await;
}
