//! thread_list, thread_status, thread_messages, message_search.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::HashSet;

use serde_json::{Value, json};
use support::{World, rows};

fn ids(answer: &Value, list: &str, id: &str) -> Vec<String> {
    let get = |row: &Value| row[id].as_str().unwrap().to_owned();
    answer[list].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(get).collect()
}

fn messages(answer: &Value) -> Vec<String> {
    ids(answer, "messages", "message_id")
}

#[tokio::test]
async fn messages_come_back_exactly_and_newest_first() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    // What serde_json alone would lose: key order, big numbers, lone surrogates, NUL, duplicate keys.
    let payload = r#"{"z":1.0,"a":123456789012345678901234567890,"s":"\ud800","n":"\u0000","z":[ 1e400 ]}"#;
    let envelope = format!(
        r#"{{"message_id":"x","from_agent":"a","to_agent":"b","payload":{payload},"sent_at":"2026-02-21T08:00:00Z"}}"#
    );
    let columns = json!({"to_agent": "acct_b", "kind": "direct", "schema_version": "1.1", "to_account_id": "acct_b",
        "from_account_id": "acct_a"});
    rows::raw_message(&world.pool, "x", "odd", "2026-02-21T08:00:00Z", &columns, envelope.into_bytes()).await;
    let answer =
        world.client.request("registry.thread_messages", r#"{"thread_id":"odd"}"#.into()).await.unwrap();
    let text = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(text.contains(&format!(r#""payload":{payload}"#)), "{text}");

    let auth = json!({"expires_at": "2026-02-21T08:00:30Z", "auth": {"scheme": "dev-ed25519-v1"}});
    rows::message(&world.pool, "m1", "t", "2026-02-21T08:00:00Z", auth).await;
    rows::message(&world.pool, "m2", "t", "2026-02-21T08:00:00.5Z", json!({"parent_message_id": "m1"})).await;
    rows::message(&world.pool, "m3", "t", "2026-02-21T08:00:00.5Z", json!({"idempotency_key": "k"})).await;
    rows::message(&world.pool, "other", "t2", "2026-02-21T09:00:00Z", json!({})).await;
    let answer = world.call("thread_messages", json!({"thread_id": " t "})).await;
    assert_eq!(messages(&answer), ["m3", "m2", "m1"]);
    assert_eq!((&answer["thread_id"], &answer["limit"]), (&json!("t"), &json!(50)));
    assert_eq!((&answer["cursor"], &answer["next_cursor"]), (&Value::Null, &Value::Null));
    let row = &answer["messages"][1];
    let names: HashSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = HashSet::from([
        "message_id",
        "thread_id",
        "parent_message_id",
        "from_account_id",
        "from_session_tag",
        "to_account_id",
        "to_agent",
        "kind",
        "schema_version",
        "idempotency_key",
        "payload",
        "trace_id",
        "sent_at",
        "received_at",
        "status",
        "metadata",
    ]);
    assert_eq!(names, expected);
    assert_eq!(
        (&row["sent_at"], &row["status"]),
        (&json!("2026-02-21T08:00:00.500000Z"), &json!("received"))
    );
    assert_eq!((&row["payload"], &row["parent_message_id"]), (&json!({"text": "hi m2"}), &json!("m1")));
    let metadata = &world
        .call("thread_messages", json!({"thread_id": "t", "limit": 1, "cursor": cursor_after(&answer, 1)}))
        .await["messages"][0]["metadata"];
    assert_eq!(metadata["auth_scheme"], "dev-ed25519-v1");
    assert_eq!(
        (&metadata["ttl_ms"], &metadata["expires_at"]),
        (&json!(30000), &json!("2026-02-21T08:00:30Z"))
    );

    assert_eq!(
        messages(&world.call("thread_messages", json!({"thread_id": "none"})).await),
        Vec::<String>::new()
    );
    // A bad cursor counts as none, and is echoed.
    let bad = world.call("thread_messages", json!({"thread_id": "t", "cursor": "nonsense"})).await;
    assert_eq!((messages(&bad).len(), &bad["cursor"]), (3, &json!("nonsense")));
    for (limit, applied) in
        [(json!(0), 50), (json!(-3), 1), (json!(9999), 200), (json!("7"), 7), (json!([]), 50)]
    {
        assert_eq!(
            world.call("thread_messages", json!({"thread_id": "t", "limit": limit})).await["limit"],
            applied
        );
    }
    registry.stop().await;
}

/// The cursor after the row at `at`, as a client of the original would get it from a page that ended there.
fn cursor_after(answer: &Value, at: usize) -> Value {
    use base64::Engine as _;
    let row = &answer["messages"][at];
    let (id, sent) = (row["message_id"].as_str().unwrap(), row["sent_at"].as_str().unwrap());
    let text = format!(r#"{{"message_id":"{id}","sent_at":"{sent}"}}"#);
    json!(base64::engine::general_purpose::URL_SAFE.encode(text))
}

#[tokio::test]
async fn pages_have_no_gaps_or_repeats_while_messages_arrive() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    // Many of one instant, so that ids decide.
    for n in 0..60 {
        let at = format!("2026-02-21T08:00:{:02}Z", n / 7);
        rows::message(&world.pool, &format!("m{n:03}"), "t", &at, json!({})).await;
    }
    let pool = world.pool.clone();
    let writer = tokio::spawn(async move {
        for n in 0..200 {
            rows::message(&pool, &format!("new{n:03}"), "t", "2026-02-21T09:00:00Z", json!({})).await;
        }
    });
    for method in ["thread_messages", "message_search"] {
        let (mut cursor, mut seen) = (Value::Null, Vec::new());
        loop {
            let page = world.call(method, json!({"thread_id": "t", "limit": 7, "cursor": cursor})).await;
            seen.extend(messages(&page));
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let old: Vec<&String> = seen.iter().filter(|id| id.starts_with('m')).collect();
        let wanted: Vec<String> = (0..60).rev().map(|n| format!("m{n:03}")).collect();
        assert_eq!(old, wanted.iter().collect::<Vec<_>>());
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
    }
    writer.await.unwrap();
    registry.stop().await;
}

#[tokio::test]
async fn answers_are_cut_to_what_nats_carries() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    // One fills a NATS message all by itself, the others take a quarter each.
    for (n, size) in
        [(0, 250_000), (1, 250_000), (2, 1_048_000), (3, 250_000), (4, 250_000), (5, 250_000), (6, 10)]
    {
        let extra = json!({"payload": {"text": "y".repeat(size)}});
        rows::message(&world.pool, &format!("m{n}"), "t", &format!("2026-02-21T08:00:0{n}Z"), extra).await;
    }
    let (mut cursor, mut seen, mut omitted) = (Value::Null, Vec::new(), Vec::new());
    loop {
        let page =
            world.call("thread_messages", json!({"thread_id": "t", "limit": 200, "cursor": cursor})).await;
        assert!(page.get("error").is_none(), "{}", page["error"]);
        seen.extend(messages(&page));
        let rows = page["messages"].as_array().unwrap().iter();
        omitted.extend(
            rows.filter(|row| row["payload"].is_null())
                .map(|row| row["metadata"]["payload_omitted_bytes"].clone()),
        );
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]);
    assert_eq!(omitted, [json!(1_048_011)]);
    registry.stop().await;
}

#[tokio::test]
async fn message_search_filters() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    for (id, at, extra) in [
        ("m1", "2026-02-21T08:00:00Z", json!({"payload": {"text": "the quick brown fox", "n": 42}})),
        ("m2", "2026-02-21T08:00:01Z", json!({"kind": "system", "payload": "Quick checkpoint"})),
        (
            "m3",
            "2026-02-21T08:00:02Z",
            json!({"from_account_id": "acct_c", "to_account_id": "acct_d", "kind": "request"}),
        ),
    ] {
        rows::message(&world.pool, id, "t", at, extra).await;
    }
    let cases = [
        (json!({}), vec!["m3", "m2", "m1"]),
        (json!({"q": "QUICK"}), vec!["m2", "m1"]),
        (json!({"q": "quick fox"}), vec!["m1"]),
        (json!({"q": "42"}), vec!["m1"]),
        (json!({"q": "absent"}), vec![]),
        (json!({"q": "'; DROP TABLE agent_messages; --"}), vec![]),
        (json!({"kind": "system"}), vec!["m2"]),
        (json!({"kind": "request"}), vec!["m3"]),
        (json!({"from_account_id": "acct_c"}), vec!["m3"]),
        (json!({"to_account_id": "acct_b"}), vec!["m2", "m1"]),
        (json!({"thread_id": "t", "kind": "direct", "q": "fox"}), vec!["m1"]),
        (json!({"thread_id": "none"}), vec![]),
        // Inclusive at both ends, in any of the forms that Python reads.
        (json!({"from_ts": "2026-02-21T08:00:01Z", "to_ts": "2026-02-21T08:00:01Z"}), vec!["m2"]),
        (json!({"from_ts": "2026-02-21 09:00:02+01:00"}), vec!["m3"]),
        (json!({"to_ts": "20260221T080000"}), vec!["m1"]),
        (json!({"from_ts": ""}), vec!["m3", "m2", "m1"]),
    ];
    for (body, expected) in cases {
        assert_eq!(messages(&world.call("message_search", body.clone()).await), expected, "{body}");
    }
    let answer = world.call("message_search", json!({"kind": "system", "from_ts": "2026-01-01"})).await;
    let filters = json!({"thread_id": null, "from_account_id": null, "to_account_id": null, "kind": "system",
        "from_ts": "2026-01-01", "to_ts": null});
    assert_eq!(answer["filters"], filters);
    for (body, expected) in [
        (json!([]), "message_search payload must be an object"),
        (json!({"from_ts": "yesterday"}), "from_ts_invalid"),
        (json!({"to_ts": "2026-13-01"}), "to_ts_invalid"),
        (json!({"kind": "\u{0}"}), "invalid_field"),
        (json!({"q": "q".repeat(600)}), "invalid_field"),
    ] {
        assert_eq!(world.error("message_search", body.clone()).await, expected, "{body}");
    }
    registry.stop().await;
}

#[tokio::test]
async fn threads_list_and_status() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let account = world.register(json!({"agent_id": "member"})).await["account_id"].clone();
    let id = account.as_str().unwrap();
    rows::thread(&world.pool, "thread_a", &[id, "acct_x"], Some("2026-02-21T08:00:00Z")).await;
    rows::thread(&world.pool, "thread_b", &[id], Some("2026-02-21T08:00:00Z")).await;
    rows::thread(&world.pool, "other_c", &["acct_x"], Some("2026-02-22T08:00:00Z")).await;
    rows::thread(&world.pool, "100%", &["acct_y"], None).await;
    let threads = |answer: &Value| ids(answer, "results", "thread_id");
    let all = world.call("thread_list", json!({"soft_limit_tokens": 1, "hard_limit_tokens": 2})).await;
    assert_eq!(threads(&all), ["100%", "other_c", "thread_b", "thread_a"]);
    assert_eq!(all["thread_management_owner"], "agent_infra");
    assert_eq!(all["token_estimate_chars_per_token"], 4);
    assert_eq!((&all["query"], &all["limit"]), (&json!(""), &json!(20)));
    assert_eq!((&all["participant_account_id"], &all["participant_username"]), (&Value::Null, &Value::Null));
    for (body, expected) in [
        (json!({"query": "THREAD"}), vec!["thread_b", "thread_a"]),
        (json!({"query": "%"}), vec!["100%"]),
        (json!({"query": "d_b"}), vec!["thread_b"]),
        (json!({"participant_account_id": id}), vec!["thread_b", "thread_a"]),
        (json!({"participant_username": "@Member"}), vec!["thread_b", "thread_a"]),
        (json!({"participant_account_id": "acct_x", "query": "c"}), vec!["other_c"]),
        (json!({"participant_account_id": "acct"}), vec![]),
    ] {
        assert_eq!(threads(&world.call("thread_list", body.clone()).await), expected, "{body}");
    }
    let unknown = world.call("thread_list", json!({"participant_username": "nobody", "limit": 3})).await;
    let names: HashSet<&str> = unknown.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["query", "limit", "participant_account_id", "participant_username", "results", "generated_at"];
    assert_eq!(names, HashSet::from(expected));
    assert_eq!((&unknown["results"], &unknown["participant_account_id"]), (&json!([]), &Value::Null));

    let (mut cursor, mut paged) = (Value::Null, Vec::new());
    loop {
        let page = world.call("thread_list", json!({"limit": 1, "cursor": cursor})).await;
        paged.extend(threads(&page));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, threads(&all));

    let status = world.call("thread_status", json!({"thread_id": "thread_a"})).await;
    assert_eq!((&status["status"], &status["pending_messages"]), (&json!("ok"), &json!(2)));
    assert_eq!((&status["message_count"], &status["byte_count"]), (&json!(3), &json!(117)));
    assert_eq!((&status["approx_tokens"], &status["participants"]), (&json!(31), &json!([id, "acct_x"])));
    assert_eq!(status["last_message_at"], "2026-02-21T08:00:00Z");
    assert_eq!(status["thread_management_owner"], "agent_infra");
    for (method, body, expected) in [
        ("thread_list", json!([]), "thread_list payload must be an object"),
        ("thread_status", json!([]), "thread_status payload must be an object"),
        ("thread_status", json!({}), "thread_id is required"),
        ("thread_status", json!({"thread_id": "none"}), "not_found"),
        ("thread_messages", json!([]), "thread_messages payload must be an object"),
        ("thread_messages", json!({"thread_id": ""}), "thread_id is required"),
    ] {
        assert_eq!(world.error(method, body.clone()).await, expected, "{method} {body}");
    }
    registry.stop().await;
}

#[tokio::test]
async fn a_thread_with_too_many_participants_spoils_no_list() {
    let world = World::new().await;
    let registry = world.registry(&[]).await;
    let many: Vec<String> = (0..12_000).map(|number| format!("acct_{number:0>100}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    rows::thread(&world.pool, "crowded", &many, Some("2026-02-22T08:00:00Z")).await;
    rows::thread(&world.pool, "quiet", &["acct_x"], Some("2026-02-21T08:00:00Z")).await;
    let all = world.call("thread_list", json!({})).await;
    assert_eq!(ids(&all, "results", "thread_id"), ["crowded", "quiet"]);
    assert_eq!(all["results"][0]["participants"], json!(many[..256]));
    let status = world.call("thread_status", json!({"thread_id": "crowded"})).await;
    assert_eq!(status["participants"], json!(many[..256]));
    registry.stop().await;
}
