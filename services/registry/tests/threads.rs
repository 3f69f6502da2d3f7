//! Threads with members: roles, what they say about themselves, their end, what members have read, and what comes to whom.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::agents::{QUICK, is_silent, joining, next, next_message, persister};
use support::secure::{Asking, id, secure, texts};
use support::{PATIENCE, World};

/// Accounts and roles, in the order of the answer.
fn roles(answer: &Value) -> Vec<(String, String)> {
    let rows = answer["members"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "account_id"), text(row, "role"))).collect()
}

/// Those of `roles`, by letter.
fn by_letter(rows: &[(char, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(letter, role)| (id(*letter), (*role).to_owned())).collect()
}

#[tokio::test]
async fn owners_give_roles_and_admins_do_part_of_their_work() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let d = Asking::new(&world, 'd').await;
    a.call("thread_create", json!({"thread_id": "t", "invite": [b.id, c.id]})).await;
    for member in [&b, &c] {
        member.call("thread_join", json!({"thread_id": "t"})).await;
    }
    let role = |member: &Asking, role: &str| json!({"thread_id": "t", "member": member.id, "role": role});
    assert_eq!(b.error("thread_role", role(&b, "admin")).await, "forbidden");
    assert_eq!(d.error("thread_role", role(&d, "owner")).await, "not_found");
    let now = a.call("thread_role", role(&c, "admin")).await;
    assert_eq!(roles(&now), by_letter(&[('a', "owner"), ('c', "admin"), ('b', "member")]));
    // An admin invites, ejects members, and describes the thread; it gives no roles, closes nothing, and owners stay.
    c.call("thread_invite", json!({"thread_id": "t", "invite": [d.id]})).await;
    c.call("thread_update", json!({"thread_id": "t", "title": "By c"})).await;
    assert_eq!(c.error("thread_eject", json!({"thread_id": "t", "eject": [a.id]})).await, "thread_owner");
    assert_eq!(c.error("thread_role", role(&d, "admin")).await, "forbidden");
    assert_eq!(c.error("thread_close", json!({"thread_id": "t"})).await, "forbidden");
    c.call("thread_eject", json!({"thread_id": "t", "eject": [b.id]})).await;
    // An invitation with a role keeps it.
    a.call("thread_role", role(&d, "admin")).await;
    d.call("thread_join", json!({"thread_id": "t"})).await;
    assert_eq!(d.error("thread_eject", json!({"thread_id": "t", "eject": [c.id]})).await, "forbidden");
    // The last owner stays one until another is.
    assert_eq!(a.error("thread_role", role(&a, "member")).await, "thread_owner");
    a.call("thread_role", role(&d, "owner")).await;
    let now = a.call("thread_role", role(&a, "member")).await;
    assert_eq!(roles(&now), by_letter(&[('d', "owner"), ('c', "admin"), ('a', "member")]));
    assert_eq!(d.error("thread_role", role(&b, "admin")).await, "not_a_member");
    let unknown = json!({"thread_id": "t", "member": a.id, "role": "king"});
    assert_eq!(d.error("thread_role", unknown).await, "invalid_field");
    registry.stop().await;
}

#[tokio::test]
async fn a_thread_says_what_it_is_about() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    let made = json!({"thread_id": "t", "title": "Plans", "subject": "two\nlines", "metadata": {"color": "red"}, "invite": [b.id]});
    let answer = a.call("thread_create", made).await;
    assert_eq!((&answer["subject"], &answer["metadata"]), (&json!("two\nlines"), &json!({"color": "red"})));
    b.call("thread_join", json!({"thread_id": "t"})).await;
    let mut news = b.client.subscribe(format!("account.{}.threads", b.id)).await.unwrap();
    b.client.flush().await.unwrap();
    let changed = a.call("thread_update", json!({"thread_id": "t", "title": "New", "public": true})).await;
    assert_eq!(
        (&changed["title"], &changed["subject"], &changed["public"]),
        (&json!("New"), &json!("two\nlines"), &json!(true))
    );
    let event: Value = serde_json::from_slice(&next_message(&mut news).await.payload).unwrap();
    assert_eq!((&event["change"], &event["title"]), (&json!("updated"), &json!("New")));
    assert_eq!(b.error("thread_update", json!({"thread_id": "t", "title": "Mine"})).await, "forbidden");
    for bad in [
        json!({"title": "x".repeat(257)}),
        json!({"title": "\u{1b}[2J"}),
        json!({"subject": "x".repeat(4097)}),
        json!({"metadata": {"big": "x".repeat(8192)}}),
        json!({"metadata": {"nul": "\u{0}"}}),
    ] {
        let mut bad = bad;
        bad["thread_id"] = json!("t");
        assert_eq!(a.error("thread_update", bad.clone()).await, "invalid_field");
        bad["thread_id"] = json!("other");
        assert_eq!(a.error("thread_create", bad).await, "invalid_field");
    }
    registry.stop().await;
}

#[tokio::test]
async fn nobody_posts_to_a_closed_thread_and_its_members_still_read_it() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let _persisting = persister(&world).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let m = Asking::new(&world, 'm').await;
    a.call("thread_create", json!({"thread_id": "t", "public": true, "invite": [b.id, c.id]})).await;
    b.call("thread_join", json!({"thread_id": "t"})).await;
    let to_all = json!({"thread_id": "t", "to_agent": "thread:t", "to_account_id": null});
    world.send("m1", &a.id, &b.id, to_all.clone()).await;
    eventually(PATIENCE, || async { b.thread("t").await == ["m1"] }).await;
    let mut heard = Vec::new();
    for member in [&b, &c] {
        heard.push(member.client.subscribe(format!("account.{}.threads", member.id)).await.unwrap());
        member.client.flush().await.unwrap();
    }
    let closed = a.call("thread_close", json!({"thread_id": "t"})).await;
    assert_eq!(closed["closed_by"], json!(a.id));
    for news in &mut heard {
        let event: Value = serde_json::from_slice(&next_message(news).await.payload).unwrap();
        assert_eq!((&event["change"], &event["by"]), (&json!("closed"), &json!(a.id)));
    }
    // Again changes nothing.
    let again = a.call("thread_close", json!({"thread_id": "t"})).await;
    assert_eq!(again["closed_at"], closed["closed_at"]);

    let mut refused = world.client.subscribe(format!("account.{}.stored", b.id)).await.unwrap();
    let mut strangers = world.client.subscribe(format!("account.{}.stored", m.id)).await.unwrap();
    world.client.flush().await.unwrap();
    world.send("m2", &b.id, &a.id, to_all.clone()).await;
    world.send("m3", &b.id, &a.id, json!({"thread_id": "t", "kind": "reply"})).await;
    world.send("m4", &m.id, &a.id, to_all).await;
    let mut failed = Vec::new();
    while failed.len() < 2 {
        let notice: Value = serde_json::from_slice(&next_message(&mut refused).await.payload).unwrap();
        failed.extend(texts(&notice, "failed", "code"));
    }
    assert_eq!(failed, ["thread_closed", "thread_closed"]);
    let notice: Value = serde_json::from_slice(&next_message(&mut strangers).await.payload).unwrap();
    assert_eq!(texts(&notice, "failed", "code"), ["thread_forbidden"]);
    for member in [&a, &b] {
        assert_eq!(member.thread("t").await, ["m1"]);
    }
    // What waits from before is still delivered.
    let rows = a.call("deliveries", json!({"message_id": "m1"})).await;
    assert_eq!(texts(&rows, "deliveries", "state"), ["pending"]);
    for (who, method, body) in [
        (&a, "thread_invite", json!({"invite": [m.id]})),
        (&m, "thread_join", json!({})),
        (&a, "thread_update", json!({"title": "x"})),
        (&a, "thread_role", json!({"member": b.id, "role": "owner"})),
    ] {
        let mut body = body;
        body["thread_id"] = json!("t");
        assert_eq!(who.error(method, body).await, "thread_closed", "{method}");
    }
    // Its invitations ended; leaving works.
    assert_eq!(c.error("thread_members", json!({"thread_id": "t"})).await, "not_found");
    b.call("thread_leave", json!({"thread_id": "t"})).await;
    assert_eq!(b.thread("t").await, Vec::<String>::new());
    assert_eq!(m.error("thread_close", json!({"thread_id": "nowhere"})).await, "not_found");
    registry.stop().await;
}

#[tokio::test]
async fn the_number_of_members_is_configured() {
    let world = World::new().await;
    let mut settings = secure().to_vec();
    settings.push(("AGENTNET_THREAD_MEMBERS_MAX", "2"));
    let registry = world.registry(&settings).await;
    let (a, b, c) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'c').await);
    let made = a.call("thread_create", json!({"thread_id": "t", "invite": [b.id, c.id]})).await;
    assert_eq!(made["error"], "thread_full");
    assert!(made["detail"].as_str().unwrap().contains(" 2 "), "{made}");
    a.call("thread_create", json!({"thread_id": "t", "invite": [b.id]})).await;
    assert_eq!(a.error("thread_invite", json!({"thread_id": "t", "invite": [c.id]})).await, "thread_full");
    b.call("thread_leave", json!({"thread_id": "t"})).await;
    a.call("thread_invite", json!({"thread_id": "t", "invite": [c.id]})).await;
    registry.stop().await;
}

/// An owner that leaves while nobody has joined yet leaves no thread without one.
#[tokio::test]
async fn who_joins_a_thread_without_an_owner_owns_it() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b) = (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await);
    a.call("thread_create", json!({"thread_id": "t", "invite": [b.id]})).await;
    a.call("thread_leave", json!({"thread_id": "t"})).await;
    let joined = b.call("thread_join", json!({"thread_id": "t"})).await;
    assert_eq!(roles(&joined), by_letter(&[('b', "owner")]));
    registry.stop().await;
}

#[tokio::test]
async fn unread_counts_follow_posts_and_markers() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let _persisting = persister(&world).await;
    let (a, b, m) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'm').await);
    for thread in ["one", "two"] {
        a.call("thread_create", json!({"thread_id": thread, "title": thread, "invite": [b.id]})).await;
    }
    b.call("thread_join", json!({"thread_id": "one"})).await;
    let post = async |message: &str, from: &Asking, thread: &str, at: &str| {
        let extra = json!({"thread_id": thread, "to_agent": format!("thread:{thread}"), "to_account_id": null,
                           "sent_at": format!("2026-02-21T08:00:{at}Z")});
        world.send(message, &from.id, &a.id, extra).await;
        eventually(PATIENCE, || async { a.thread(thread).await.contains(&message.to_owned()) }).await;
    };
    let unread = async |who: &Asking| {
        let answer = who.call("conversation_list", json!({})).await;
        let rows = answer["conversations"].as_array().unwrap().clone();
        let row =
            |row: &Value| (row["thread_id"].as_str().unwrap().to_owned(), row["unread"].as_i64().unwrap());
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let one = |n: i64| ("one".to_owned(), n);
    post("m1", &a, "one", "01").await;
    post("m2", &a, "one", "02").await;
    post("m3", &b, "one", "03").await;
    // One's own posts are never unread; being invited counts too.
    assert!(unread(&a).await.contains(&one(1)));
    assert!(unread(&b).await.contains(&one(2)));
    post("n1", &a, "two", "04").await;
    let listed = b.call("conversation_list", json!({"state": "invited"})).await;
    let row = &listed["conversations"][0];
    assert_eq!(
        (&row["thread_id"], &row["unread"], &row["state"]),
        (&json!("two"), &json!(1), &json!("invited"))
    );
    assert_eq!(
        (&row["invited_by"], &row["members"], &row["title"]),
        (&json!(a.id), &json!(1), &json!("two"))
    );
    // Latest activity first, in pages.
    let first = b.call("conversation_list", json!({"limit": 1})).await;
    assert_eq!(texts(&first, "conversations", "thread_id"), ["two"]);
    let second = b.call("conversation_list", json!({"limit": 1, "cursor": first["next_cursor"]})).await;
    assert_eq!(texts(&second, "conversations", "thread_id"), ["one"]);
    assert_eq!(second.get("next_cursor"), None);

    // A marker at the first message leaves what others said after it; it never moves back.
    let read = async |who: &Asking, body: Value| who.call("thread_read", body).await;
    assert_eq!(read(&b, json!({"thread_id": "one", "up_to": "m1"})).await["unread"], 1);
    assert_eq!(read(&b, json!({"thread_id": "one"})).await["unread"], 0);
    assert_eq!(read(&b, json!({"thread_id": "one", "up_to": "m1"})).await["unread"], 0);
    post("m4", &a, "one", "05").await;
    assert!(unread(&b).await.contains(&one(1)));
    let only = b.call("conversation_list", json!({"unread_only": true, "state": "joined"})).await;
    assert_eq!(texts(&only, "conversations", "thread_id"), ["one"]);
    read(&b, json!({"thread_id": "one"})).await;
    let only = b.call("conversation_list", json!({"unread_only": true, "state": "joined"})).await;
    assert_eq!(only["conversations"], json!([]));
    // It lies in Postgres.
    registry.stop().await;
    let registry = world.registry(&secure()).await;
    assert!(unread(&b).await.contains(&one(0)));

    assert_eq!(unread(&m).await, []);
    for (who, method, body, code) in [
        (&m, "thread_read", json!({"thread_id": "one"}), "not_found"),
        (&b, "thread_read", json!({"thread_id": "two"}), "not_found"),
        (&b, "thread_read", json!({"thread_id": "one", "up_to": "n1"}), "not_found"),
        (&b, "thread_read", json!({}), "thread_id is required"),
        (&b, "thread_read", json!({"thread_id": "one", "account_id": a.id}), "forbidden"),
        (&b, "conversation_list", json!({"account_id": a.id}), "forbidden"),
        (&b, "conversation_list", json!({"state": "left"}), "invalid_field"),
    ] {
        assert_eq!(who.error(method, body.clone()).await, code, "{method} {body}");
    }
    registry.stop().await;
}

/// Who joins gets what was said since the invitation and still lives, in order; what was said before is in the history.
#[tokio::test]
async fn who_joins_hears_what_was_said_since_the_invitation() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let _persisting = persister(&world).await;
    let ann = world.account("ann").await;
    let cat = world.account("cat").await;
    let mut bob = world.agent(joining("bob", Some("1.2"), &[])).await;
    world.hello(&bob).await;
    world.call("thread_create", json!({"account_id": ann, "thread_id": "t", "invite": [cat]})).await;
    world.call("thread_join", json!({"account_id": cat, "thread_id": "t"})).await;
    let say = async |message: &str, extra: Value| {
        let mut all = json!({"thread_id": "t", "to_agent": "thread:t", "to_account_id": null});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.send(message, &ann, &cat, all).await;
        world.delivery(message, "pending").await;
    };
    say("before", json!({})).await;
    world.call("thread_invite", json!({"account_id": ann, "thread_id": "t", "invite": [bob.account]})).await;
    say("m1", json!({})).await;
    say("gone", json!({"ttl_ms": 60_000})).await;
    say("others", json!({"to_members": [cat]})).await;
    say("m2", json!({"payload": {"to_members": "is only a word here"}})).await;
    sqlx::query("UPDATE agent_messages SET expires_at = now() WHERE message_id = 'gone'")
        .execute(&world.pool)
        .await
        .unwrap();
    world.call("thread_join", json!({"account_id": bob.account, "thread_id": "t"})).await;
    for expected in ["m1", "m2"] {
        let (message, attempt) = next(&mut bob.redelivery).await;
        assert_eq!((message["message_id"].as_str().unwrap(), attempt), (expected, 1));
    }
    assert!(is_silent(&world, &mut bob.redelivery).await);
    // Joining again brings nothing again; all of it is in the history.
    world.call("thread_join", json!({"account_id": bob.account, "thread_id": "t"})).await;
    assert!(is_silent(&world, &mut bob.redelivery).await);
    let history = world.call("thread_messages", json!({"thread_id": "t"})).await;
    assert_eq!(texts(&history, "messages", "message_id").len(), 5);
    registry.stop().await;
}

#[tokio::test]
async fn a_message_to_some_members_is_delivered_to_those() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let _persisting = persister(&world).await;
    let (ann, bob, cat) =
        (world.account("ann").await, world.account("bob").await, world.account("cat").await);
    let eve = world.account("eve").await;
    world.call("thread_create", json!({"account_id": ann, "thread_id": "t", "invite": [bob, cat]})).await;
    for member in [&bob, &cat] {
        world.call("thread_join", json!({"account_id": member, "thread_id": "t"})).await;
    }
    let mut told = world.client.subscribe(format!("account.{ann}.stored")).await.unwrap();
    world.client.flush().await.unwrap();
    let to = |members: Value| json!({"thread_id": "t", "to_agent": "thread:t", "to_account_id": null, "to_members": members});
    world.send("one", &ann, &bob, to(json!([bob, ann]))).await;
    world.send("stranger", &ann, &bob, to(json!([bob, eve]))).await;
    world.send("no_thread", &ann, &bob, json!({"to_members": [bob]})).await;
    world.send("text", &ann, &bob, to(json!("bob"))).await;
    let (mut failed, mut stored) = (Vec::new(), Vec::new());
    while failed.len() < 3 || stored.is_empty() {
        let notice: Value = serde_json::from_slice(&next_message(&mut told).await.payload).unwrap();
        let row = |row: &Value| {
            (row["message_id"].as_str().unwrap().to_owned(), row["code"].as_str().unwrap().to_owned())
        };
        failed.extend(notice["failed"].as_array().into_iter().flatten().map(row));
        stored.extend(notice["message_ids"].as_array().into_iter().flatten().cloned());
    }
    failed.sort();
    let failed: Vec<(&str, &str)> = failed.iter().map(|(id, code)| (id.as_str(), code.as_str())).collect();
    assert_eq!(
        failed,
        [("no_thread", "invalid_field"), ("stranger", "not_a_member"), ("text", "invalid_envelope")]
    );
    assert_eq!(stored, [json!("one")]);
    let rows = world.call("deliveries", json!({"message_id": "one"})).await;
    assert_eq!(texts(&rows, "deliveries", "recipient"), [bob.as_str()]);
    let history = world.call("thread_messages", json!({"thread_id": "t"})).await;
    assert_eq!(history["messages"][0]["metadata"]["to_members"], json!([bob, ann]));
    registry.stop().await;
}
