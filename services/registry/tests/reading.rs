//! Who reads what in secure mode: everybody their own mail, operators everything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use serde_json::{Value, json};
use support::secure::{Asking, id, key_of, secure, texts};
use support::{PATIENCE, World, rows};

/// A stored message, as the persister leaves it; `at` in seconds.
async fn sent(world: &World, message: &str, thread: &str, at: u32, from: char, to: char, kind: &str) {
    let (from, to) = (id(from), id(to));
    let columns = json!({"from_account_id": from, "to_account_id": to, "to_agent": to, "kind": kind});
    let at = format!("2026-02-21T08:00:{at:02}Z");
    rows::message(&world.pool, message, thread, &at, columns).await;
    let step = format!("{from}{}{to}", if kind == "reply" { '~' } else { '>' });
    sqlx::query(
        "INSERT INTO agent_threads (thread_id, created_by_account_id, participants, created_at, updated_at, \
         message_count, last_message_at, addressed) \
         VALUES ($1, $2, jsonb_build_array($2::text, $3::text), now(), now(), 1, now(), ARRAY[$4]) \
         ON CONFLICT (thread_id) DO UPDATE SET message_count = agent_threads.message_count + 1, \
         addressed = agent_threads.addressed || excluded.addressed, \
         participants = (SELECT jsonb_agg(DISTINCT p) FROM jsonb_array_elements(agent_threads.participants || excluded.participants) p)",
    )
    .bind(thread)
    .bind(&from)
    .bind(&to)
    .bind(step)
    .execute(&world.pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO agent_deliveries (message_id, recipient, state, sender_account_id, thread_id, created_at) \
         SELECT $1, $2, 'pending', $3, $4, now() WHERE $5 <> 'reply'",
    )
    .bind(message)
    .bind(&to)
    .bind(&from)
    .bind(thread)
    .bind(kind)
    .execute(&world.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn writing_into_a_thread_shows_nothing_of_it() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (a, b, m) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'm').await);
    sent(&world, "m1", "t", 1, 'a', 'b', "direct").await;
    sent(&world, "m2", "t", 2, 'b', 'a', "direct").await;
    // The intruder writes, and asks an agent that answers whoever asks.
    sent(&world, "m3", "t", 3, 'm', 'a', "direct").await;
    sent(&world, "m4", "t", 4, 'm', 'b', "request").await;
    sent(&world, "m5", "t", 5, 'b', 'm', "reply").await;
    sent(&world, "m6", "t", 6, 'a', 'b', "direct").await;
    sent(&world, "e1", "elsewhere", 7, 'm', 'a', "direct").await;

    assert_eq!(a.thread("t").await, ["m6", "m5", "m4", "m3", "m2", "m1"]);
    assert_eq!(m.thread("t").await, ["m5", "m4", "m3"]);
    // A cursor of another thread, or a made up one, moves the page and opens nothing.
    let page = m.call("thread_messages", json!({"thread_id": "elsewhere"})).await;
    assert_eq!(texts(&page, "messages", "message_id"), ["e1"]);
    use base64::Engine as _;
    let cursor = base64::engine::general_purpose::URL_SAFE
        .encode(r#"{"message_id":"zz","sent_at":"2027-01-01T00:00:00Z"}"#);
    let beyond = json!({"thread_id": "t", "cursor": cursor});
    assert_eq!(m.messages("thread_messages", beyond).await, ["m5", "m4", "m3"]);

    let search = |thread: Option<&str>| json!({"thread_id": thread, "q": "hi"});
    assert_eq!(m.messages("message_search", search(Some("t"))).await, ["m5", "m4", "m3"]);
    assert_eq!(m.messages("message_search", search(None)).await, ["e1", "m5", "m4", "m3"]);
    assert_eq!(b.messages("message_search", search(None)).await, ["m6", "m5", "m4", "m2", "m1"]);
    // Somebody else's mail by its sender.
    assert_eq!(m.messages("message_search", json!({"from_account_id": a.id})).await, Vec::<String>::new());

    assert_eq!(m.call("why", json!({"message_id": "m1"})).await["error"], "not_found");
    assert_eq!(m.call("why", json!({"message_id": "nowhere"})).await["error"], "not_found");
    assert_eq!(
        texts(&m.call("why", json!({"message_id": "m3"})).await, "deliveries", "recipient"),
        [a.id.as_str()]
    );
    let deliveries = |body| async { texts(&m.call("deliveries", body).await, "deliveries", "message_id") };
    assert_eq!(deliveries(json!({})).await, ["e1", "m4", "m3"]);
    assert_eq!(deliveries(json!({"thread_id": "t"})).await, ["m4", "m3"]);
    assert_eq!(deliveries(json!({"recipient": a.id})).await, ["e1", "m3"]);
    assert_eq!(deliveries(json!({"sender_account_id": a.id})).await, Vec::<String>::new());

    // It knows everybody it wrote to, so there the row is whole; with a stranger in the thread it isn't.
    assert_eq!(m.call("thread_status", json!({"thread_id": "t"})).await["partial"], Value::Null);
    sent(&world, "m7", "t", 8, 'b', 'c', "direct").await;
    let status = m.call("thread_status", json!({"thread_id": "t"})).await;
    assert_eq!((&status["partial"], &status["message_count"]), (&json!(true), &json!(0)));
    assert_eq!(status["participants"], json!([a.id, b.id, m.id]));
    assert_eq!(a.call("thread_status", json!({"thread_id": "t"})).await["message_count"], 7);

    // Nobody: neither the thread nor its absence shows.
    let d = Asking::new(&world, 'd').await;
    assert_eq!(d.thread("t").await, Vec::<String>::new());
    assert_eq!(d.thread("nowhere").await, Vec::<String>::new());
    for thread in ["t", "nowhere"] {
        assert_eq!(d.call("thread_status", json!({"thread_id": thread})).await["error"], "not_found");
    }
    let listed = |body| async { texts(&d.call("thread_list", body).await, "results", "thread_id") };
    assert_eq!(listed(json!({})).await, Vec::<String>::new());
    assert_eq!(listed(json!({"participant_account_id": a.id})).await, Vec::<String>::new());
    registry.stop().await;
}

#[tokio::test]
async fn a_thread_id_taken_first_shows_nothing_of_those_who_come_later() {
    let world = World::new().await;
    let registry = world.registry(&secure()).await;
    let (m, c) = (Asking::new(&world, 'm').await, Asking::new(&world, 'c').await);
    sent(&world, "s1", "project-x", 1, 'm', 'a', "direct").await;
    sent(&world, "s2", "project-x", 2, 'a', 'b', "direct").await;
    sent(&world, "s3", "project-x", 3, 'b', 'a', "direct").await;
    sent(&world, "s4", "project-x", 4, 'b', 'c', "direct").await;
    assert_eq!(m.thread("project-x").await, ["s1"]);
    // Whoever an earlier participant addresses reads the whole.
    assert_eq!(c.thread("project-x").await, ["s4", "s3", "s2", "s1"]);
    registry.stop().await;
}

#[tokio::test]
async fn operators_read_everything() {
    let world = World::new().await;
    let nkey = key_of('p').verifying().to_nkey();
    let settings = [&secure()[..], &[("AGENTNET_OPERATOR_KEYS", nkey.as_str())]].concat();
    let registry = world.registry(&settings).await;
    let (named, granted) = (Asking::new(&world, 'p').await, Asking::new(&world, 'n').await);
    sent(&world, "m1", "t", 1, 'a', 'b', "direct").await;
    assert_eq!(granted.thread("t").await, Vec::<String>::new());
    granted.is_operator(&world).await;
    for operator in [&named, &granted] {
        agentnet_local::testing::eventually(PATIENCE, || async { operator.thread("t").await == ["m1"] })
            .await;
        assert_eq!(texts(&operator.call("thread_list", json!({})).await, "results", "thread_id"), ["t"]);
        assert_eq!(operator.call("why", json!({"message_id": "m1"})).await["message_id"], "m1");
    }
    registry.stop().await;
}
