//! Peers, blocks, documents, profiles, and who is online.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::agents::{QUICK, joining, next_message, persister};
use support::secure::{Asking, id, secure, texts};
use support::{PATIENCE, World};

#[tokio::test]
async fn peers_are_one_sided_and_added_once() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let added = a.call("peer_add", json!({"peer": "@B", "note": "met at\nthe gate"})).await;
    assert_eq!((&added["added"], &added["peer"]["account_id"]), (&json!(true), &json!(b.id)));
    assert_eq!(added["peer"]["username"], "b");
    // Again, without and with another note.
    let again = a.call("peer_add", json!({"peer": b.id})).await;
    assert_eq!((&again["added"], &again["peer"]["note"]), (&json!(false), &json!("met at\nthe gate")));
    let noted = a.call("peer_add", json!({"peer": b.id, "note": "a friend"})).await;
    assert_eq!(noted["peer"]["note"], "a friend");
    a.call("peer_add", json!({"peer": "c"})).await;
    let list = async |who: &Asking| texts(&who.call("peer_list", json!({})).await, "peers", "username");
    assert_eq!(list(&a).await, ["b", "c"]);
    assert_eq!(list(&b).await, Vec::<String>::new());
    // In pages.
    let first = a.call("peer_list", json!({"limit": 1})).await;
    assert_eq!(texts(&first, "peers", "username"), ["b"]);
    let second = a.call("peer_list", json!({"limit": 1, "cursor": first["next_cursor"]})).await;
    assert_eq!(
        (texts(&second, "peers", "username"), second.get("next_cursor")),
        (vec!["c".to_owned()], None)
    );

    assert_eq!(a.call("peer_remove", json!({"peer": "b"})).await["removed"], true);
    assert_eq!(a.call("peer_remove", json!({"peer": "b"})).await["removed"], false);
    assert_eq!(list(&a).await, ["c"]);
    for (bad, code) in [
        (json!({"peer": "nobody"}), "not_found"),
        (json!({"peer": id('z')}), "not_found"),
        (json!({}), "invalid_field"),
        (json!({"peer": a.id}), "invalid_field"),
        (json!({"peer": "b", "note": "bell\u{7}"}), "invalid_field"),
        (json!({"peer": "b", "note": "x".repeat(5000)}), "invalid_field"),
        (json!({"account_id": b.id, "peer": "c"}), "forbidden"),
    ] {
        assert_eq!(a.error("peer_add", bad.clone()).await, code, "{bad}");
    }
    assert_eq!(c.error("peer_list", json!({"account_id": a.id})).await, "forbidden");
    fill(&world, "INSERT INTO agent_peers (account_id, peer_id, created_at, updated_at) SELECT $1, 'x' || n, now(), now() \
         FROM generate_series(1, 999) n", &a.id).await;
    assert_eq!(a.error("peer_add", json!({"peer": "b"})).await, "limit_reached");
    assert_eq!(a.call("peer_add", json!({"peer": "c", "note": "still"})).await["peer"]["note"], "still");
    registry.stop().await;
}

async fn fill(world: &World, sql: &'static str, account: &str) {
    sqlx::query(sql).bind(account).execute(&world.pool).await.unwrap();
}

#[tokio::test]
async fn in_open_mode_peers_may_be_noted_before_they_come() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let ann = world.register(json!({"agent_id": "ann"})).await["account_id"].clone();
    assert_eq!(world.error("peer_add", json!({"peer": "acct_new"})).await, "account_id is required");
    let added = world.call("peer_add", json!({"account_id": ann, "peer": "acct_new"})).await;
    assert_eq!((&added["peer"]["account_id"], added["peer"].get("username")), (&json!("acct_new"), None));
    assert_eq!(world.error("peer_add", json!({"account_id": ann, "peer": "@nobody"})).await, "not_found");
    world.register(json!({"agent_id": "new", "account_id": "acct_new"})).await;
    let listed = world.call("peer_list", json!({"account_id": ann})).await;
    assert_eq!(
        (&listed["peers"][0]["username"], &listed["peers"][0]["online"]),
        (&json!("new"), &json!(true))
    );
    registry.stop().await;
}

#[tokio::test]
async fn documents_are_private_unless_they_are_public() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    let value = json!({"n": 1.50, "text": "é", "deep": [null, {"x": "\u{0}"}]});
    let put = a.call("data_put", json!({"key": "notes", "value": value})).await;
    assert_eq!((&put["document"]["public"], &put["document"]["key"]), (&json!(false), &json!("notes")));
    a.call("data_put", json!({"key": "card", "value": "v1", "public": true})).await;
    a.call("data_put", json!({"key": "card", "value": "v2", "public": true})).await;
    b.call("data_put", json!({"key": "card", "value": 7, "public": true})).await;

    assert_eq!(a.call("data_get", json!({"key": "notes"})).await["document"]["value"], value);
    assert_eq!(a.call("data_get", json!({"key": "notes", "owner": "a"})).await["document"]["value"], value);
    assert_eq!(b.error("data_get", json!({"key": "notes", "owner": "a"})).await, "not_found");
    assert_eq!(b.call("data_get", json!({"key": "card", "owner": a.id})).await["document"]["value"], "v2");
    a.call("data_put", json!({"key": "nothing", "value": null})).await;
    let nothing = a.call("data_get", json!({"key": "nothing"})).await;
    assert_eq!(nothing["document"].get("value"), Some(&Value::Null));
    a.call("data_delete", json!({"key": "nothing"})).await;
    assert_eq!(a.error("data_list", json!({"all": true, "prefix": "no"})).await, "invalid_field");
    let keys =
        async |who: &Asking, body: Value| texts(&who.call("data_list", body).await, "documents", "key");
    assert_eq!(keys(&a, json!({})).await, ["card", "notes"]);
    assert_eq!(keys(&a, json!({"prefix": "no"})).await, ["notes"]);
    assert_eq!(keys(&b, json!({"owner": "a"})).await, ["card"]);
    // Everybody's, in pages, with values.
    let first = b.call("data_list", json!({"all": true, "values": true, "limit": 1})).await;
    assert_eq!(first["documents"][0]["value"], "v2");
    let second =
        b.call("data_list", json!({"all": true, "values": true, "cursor": first["next_cursor"]})).await;
    assert_eq!((&second["documents"][0]["value"], second.get("next_cursor")), (&json!(7), None));
    a.call("profile_update", json!({"visibility": "private"})).await;
    assert_eq!(
        texts(&b.call("data_list", json!({"all": true})).await, "documents", "account_id"),
        [b.id.as_str()]
    );

    assert_eq!(a.call("data_delete", json!({"key": "card"})).await["deleted"], true);
    assert_eq!(a.call("data_delete", json!({"key": "card"})).await["deleted"], false);
    assert_eq!(a.error("data_get", json!({"key": "card"})).await, "not_found");
    for (bad, code) in [
        (json!({"key": "", "value": 1}), "invalid_field"),
        (json!({"key": "a\nb", "value": 1}), "invalid_field"),
        (json!({"key": "x".repeat(129), "value": 1}), "invalid_field"),
        (json!({"key": "k"}), "invalid_field"),
        (json!({"key": "k", "value": "x".repeat(65_536)}), "payload_too_large"),
        (json!({"key": "k", "value": 1, "account_id": b.id}), "forbidden"),
    ] {
        let answer = a.call("data_put", bad).await;
        assert_eq!(answer["error"], code, "{answer}");
    }
    fill(
        &world,
        "INSERT INTO agent_documents (account_id, key, value, created_at, updated_at) \
         SELECT $1, 'k' || n, '1', now(), now() FROM generate_series(1, 255) n",
        &a.id,
    )
    .await;
    assert_eq!(a.error("data_put", json!({"key": "more", "value": 1})).await, "limit_reached");
    assert!(a.call("data_put", json!({"key": "notes", "value": 2})).await.get("error").is_none());
    registry.stop().await;
}

/// More than one answer carries, so that it takes several, and none is left out or comes twice.
#[tokio::test]
async fn long_documents_come_in_as_many_pages_as_they_need() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let ann = world.account("ann").await;
    fill(
        &world,
        "INSERT INTO agent_documents (account_id, key, value, created_at, updated_at) \
         SELECT $1, 'k' || n, to_json(repeat('x', 60000))::text, now(), now() FROM generate_series(10, 49) n",
        &ann,
    )
    .await;
    let (mut keys, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
    loop {
        let body = json!({"account_id": ann, "values": true, "limit": 200, "cursor": cursor});
        let page = world.call("data_list", body).await;
        keys.extend(texts(&page, "documents", "key"));
        assert!(page["documents"].as_array().unwrap().iter().all(|row| row["value"].is_string()));
        pages += 1;
        match page.get("next_cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(keys, (10..50).map(|n| format!("k{n}")).collect::<Vec<_>>());
    assert!(pages > 1, "{pages}");
    registry.stop().await;
}

/// Nobody proves who they are without a signature there, so nothing private is shown.
#[tokio::test]
async fn in_signed_mode_what_is_private_takes_a_signature() {
    let world = World::new().await;
    let registry = world.registry(&[("DEV_AUTH", "true")]).await;
    for (method, body) in [
        ("peer_list", json!({"account_id": "acct_a"})),
        ("block_list", json!({"account_id": "acct_a"})),
        ("data_list", json!({"account_id": "acct_a"})),
        ("data_get", json!({"account_id": "acct_a", "key": "k"})),
        ("data_put", json!({"account_id": "acct_a", "key": "k", "value": 1})),
        ("block_add", json!({"account_id": "acct_a", "target": "b"})),
        ("peer_add", json!({"account_id": "acct_a", "peer": "b"})),
    ] {
        assert_eq!(world.error(method, body).await, "auth_required", "{method}");
    }
    assert_eq!(world.call("data_list", json!({"all": true})).await["documents"], json!([]));
    registry.stop().await;
}

#[tokio::test]
async fn one_request_tells_who_is_online() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let ann = world.register(json!({"agent_id": "ann"})).await["account_id"].clone();
    let bob = world.account("bob").await;
    let answer = world.call("online", json!({"accounts": ["@Ann", bob, "nobody", "ann"]})).await;
    let rows = answer["accounts"].as_array().unwrap();
    let row =
        |n: usize| (rows[n]["account_id"].clone(), rows[n]["online"].clone(), rows[n]["sessions"].clone());
    assert_eq!(row(0), (ann.clone(), json!(true), json!(1)));
    assert_eq!(row(1), (json!(bob), json!(false), json!(0)));
    assert_eq!(row(2), (Value::Null, json!(false), json!(0)));
    assert_eq!((row(3).0, &rows[0]["asked"]), (ann, &json!("@Ann")));
    assert!(rows[0]["last_seen"].is_string() && rows[1].get("last_seen").is_none());
    assert_eq!(world.error("online", json!({"accounts": vec!["x"; 257]})).await, "invalid_field");
    assert_eq!(world.call("online", json!({})).await["accounts"], json!([]));
    registry.stop().await;
}

#[tokio::test]
async fn a_profile_has_a_picture_and_capabilities() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let ann =
        world.register(json!({"agent_id": "ann", "capabilities": ["chat"]})).await["account_id"].clone();
    let set = async |body: Value| {
        let mut body = body;
        body["account_id"] = ann.clone();
        world.call("profile_update", body).await
    };
    let profile = async || world.call("profile", json!({"account_id": ann})).await["profile"].clone();
    assert_eq!(profile().await.get("avatar_url"), None);
    set(json!({"avatar_url": "https://example.org/a.png", "capabilities": ["draw", "sing"]})).await;
    let shown = profile().await;
    assert_eq!(shown["avatar_url"], "https://example.org/a.png");
    assert_eq!(shown["capabilities"], json!(["draw", "sing"]));
    let found = world.call("search", json!({"capability": "sing"})).await;
    assert_eq!(texts(&found, "results", "username"), ["ann"]);
    for bad in ["javascript:alert(1)", "ftp://h/a", "nonsense", "https://u:p@h/"] {
        assert_eq!(set(json!({"avatar_url": bad})).await["error"], "invalid_field", "{bad}");
    }
    assert_eq!(set(json!({"capabilities": vec!["c"; 129]})).await["error"], "invalid_field");
    // Who registers without capabilities leaves those that were chosen; with some, replaces them, and after that both.
    world.register(json!({"agent_id": "ann"})).await;
    assert_eq!(profile().await["capabilities"], json!(["draw", "sing"]));
    world.register(json!({"agent_id": "ann", "capabilities": ["chat"]})).await;
    assert_eq!(profile().await["capabilities"], json!(["chat"]));
    world.register(json!({"agent_id": "ann"})).await;
    assert_eq!(profile().await["capabilities"], json!([]));
    world.call("capability_restrict", json!({"capability": "pay"})).await;
    assert_eq!(set(json!({"capabilities": ["pay"]})).await["error"], "capability_restricted");
    set(json!({"avatar_url": ""})).await;
    assert_eq!(profile().await.get("avatar_url"), None);
    registry.stop().await;
}

#[tokio::test]
async fn a_block_holds_while_the_recipient_is_away() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let _persisting = persister(&world).await;
    let (ann, bob, eve) =
        (world.account("ann").await, world.account("bob").await, world.account("eve").await);
    // What waits already ends, and its sender hears it.
    let mut told = world.client.subscribe(format!("account.{eve}.stored")).await.unwrap();
    let mut news = world.client.subscribe(format!("account.{ann}.blocks")).await.unwrap();
    world.client.flush().await.unwrap();
    world.send("early", &eve, &ann, json!({})).await;
    world.delivery("early", "pending").await;
    let blocked = world.call("block_add", json!({"account_id": ann, "target": "eve"})).await;
    assert_eq!((&blocked["account_id"], &blocked["changed"]), (&json!(eve), &json!(true)));
    let event: Value = serde_json::from_slice(&next_message(&mut news).await.payload).unwrap();
    assert_eq!((&event["account_id"], &event["blocked"]), (&json!(eve), &json!(true)));
    assert_eq!(world.delivery("early", "rejected").await["last_code"], "blocked");
    world.send("late", &eve, &ann, json!({})).await;
    // Nor is what only calls itself an answer taken.
    world.send("sly", &eve, &ann, json!({"kind": "reply"})).await;
    // Others, and what it sends to others, aren't touched; nor is an answer that was asked for.
    world.send("other", &bob, &ann, json!({})).await;
    world.send("elsewhere", &eve, &bob, json!({})).await;
    world
        .send_on(&format!("account.{ann}.replies.token"), "answer", &eve, &ann, json!({"kind": "reply"}))
        .await;
    let mut failed = Vec::new();
    let mut stored = Vec::new();
    while failed.len() < 3 || stored.len() < 3 {
        let notice: Value = serde_json::from_slice(&next_message(&mut told).await.payload).unwrap();
        for row in notice["failed"].as_array().into_iter().flatten() {
            failed.push((row["message_id"].clone(), row["code"].clone()));
        }
        stored.extend(notice["message_ids"].as_array().into_iter().flatten().cloned());
    }
    // Told by the registry and by the persister, in batches: in any order.
    failed.sort_by_key(|(id, _)| id.to_string());
    stored.sort_by_key(Value::to_string);
    assert_eq!(failed, ["early", "late", "sly"].map(|id| (json!(id), json!("blocked"))));
    assert_eq!(stored, ["answer", "early", "elsewhere"].map(|id| json!(id)));
    world.delivery("other", "pending").await;
    let search = world.call("message_search", json!({"to_account_id": ann})).await;
    assert!(!texts(&search, "messages", "message_id").contains(&"late".to_owned()), "{search}");

    // Idempotent; listed; told at registration; over a restart of the registry.
    let again = world.call("block_add", json!({"account_id": ann, "target": eve})).await;
    assert_eq!(again["changed"], false);
    // Told again: the news may have been lost.
    let event: Value = serde_json::from_slice(&next_message(&mut news).await.payload).unwrap();
    assert_eq!(event["blocked"], true);
    registry.stop().await;
    let registry = world.registry(&QUICK).await;
    let listed = world.call("block_list", json!({"account_id": ann})).await;
    assert_eq!(texts(&listed, "blocked", "username"), ["eve"]);
    assert_eq!(world.register(joining("ann", Some("1.2"), &[])).await["blocks"], true);
    assert_eq!(world.register(joining("bob", Some("1.2"), &[])).await.get("blocks"), None);
    let unblocked = world.call("block_remove", json!({"account_id": ann, "target": "eve"})).await;
    assert_eq!((&unblocked["blocked"], &unblocked["changed"]), (&json!(false), &json!(true)));
    world.send("after", &eve, &ann, json!({})).await;
    world.delivery("after", "pending").await;
    for (body, code) in [
        (json!({"account_id": ann, "target": "nobody"}), "not_found"),
        (json!({"account_id": ann, "target": ann}), "invalid_field"),
        (json!({"account_id": ann}), "invalid_field"),
        (json!({"target": "eve"}), "account_id is required"),
    ] {
        assert_eq!(world.error("block_add", body.clone()).await, code, "{body}");
    }
    fill(
        &world,
        "INSERT INTO agent_blocks (account_id, blocked_id, created_at) SELECT $1, 'x' || n, now() \
         FROM generate_series(1, 1000) n",
        &ann,
    )
    .await;
    assert_eq!(world.error("block_add", json!({"account_id": ann, "target": "bob"})).await, "limit_reached");
    registry.stop().await;
}

/// Whatever way it came to wait, even behind the back of the block itself.
#[tokio::test]
async fn what_waits_from_a_blocked_sender_is_not_delivered_again() {
    blocked_while_away(Some("1.2")).await;
}

/// It knows no blocks itself.
#[tokio::test]
async fn what_waits_from_a_blocked_sender_is_not_delivered_to_an_older_session_either() {
    blocked_while_away(None).await;
}

async fn blocked_while_away(version: Option<&str>) {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let _persisting = persister(&world).await;
    let (ann, bob, eve) =
        (world.account("ann").await, world.account("bob").await, world.account("eve").await);
    world.send("from_eve", &eve, &ann, json!({})).await;
    world.send("from_bob", &bob, &ann, json!({})).await;
    for id in ["from_eve", "from_bob"] {
        world.delivery(id, "pending").await;
    }
    // As if it had come in while the block was made.
    sqlx::query("INSERT INTO agent_blocks (account_id, blocked_id, created_at) VALUES ($1, $2, now())")
        .bind(&ann)
        .bind(&eve)
        .execute(&world.pool)
        .await
        .unwrap();
    let mut told = world.client.subscribe(format!("account.{eve}.stored")).await.unwrap();
    world.client.flush().await.unwrap();
    let mut agent = world.agent(joining("ann", version, &[])).await;
    world.hello(&agent).await;
    let heard = if version.is_some() { &mut agent.redelivery } else { &mut agent.inbox };
    let message: Value = serde_json::from_slice(&next_message(heard).await.payload).unwrap();
    assert_eq!(message["message_id"], "from_bob");
    assert_eq!(world.delivery("from_eve", "rejected").await["last_code"], "blocked");
    let notice: Value = serde_json::from_slice(&next_message(&mut told).await.payload).unwrap();
    assert_eq!(
        (&notice["failed"][0]["message_id"], &notice["failed"][0]["code"]),
        (&json!("from_eve"), &json!("blocked"))
    );
    registry.stop().await;
}

/// In a thread that both are in, only the member that blocks the sender doesn't get what it says.
#[tokio::test]
async fn a_block_keeps_a_members_posts_from_one_member_alone() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let _persisting = persister(&world).await;
    let (ann, bob, eve) =
        (world.account("ann").await, world.account("bob").await, world.account("eve").await);
    world.call("thread_create", json!({"account_id": eve, "thread_id": "t", "invite": [ann, bob]})).await;
    for member in [&ann, &bob] {
        world.call("thread_join", json!({"account_id": member, "thread_id": "t"})).await;
    }
    world.call("block_add", json!({"account_id": ann, "target": "eve"})).await;
    world
        .send("m1", &eve, &bob, json!({"thread_id": "t", "to_agent": "thread:t", "to_account_id": null}))
        .await;
    let rows = || async {
        let answer = world.call("deliveries", json!({"message_id": "m1"})).await;
        let rows = answer["deliveries"].as_array().unwrap().clone();
        let row = |row: &Value| (row["recipient"].clone(), row["state"].clone(), row["last_code"].clone());
        let mut rows: Vec<_> = rows.iter().map(row).collect();
        rows.sort_by_key(|row| row.0.to_string());
        rows
    };
    let mut expected =
        vec![(json!(ann), json!("rejected"), json!("blocked")), (json!(bob), json!("pending"), Value::Null)];
    expected.sort_by_key(|row| row.0.to_string());
    eventually(PATIENCE, || async { rows().await == expected }).await;
    registry.stop().await;
}
