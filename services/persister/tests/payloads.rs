//! Payloads that are hard on databases, and what is counted of them.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::Envelope;
use support::{Net, message, with_payload};

#[tokio::test]
async fn any_json_is_stored_byte_for_byte() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let words: String = (0..40_000).map(|n| format!("word{n} ")).collect();
    let payloads = [
        r#"{"text":"a\u0000b"}"#.to_owned(),
        r#"{"lone":"\ud800","pair":"\ud83d\ude00"}"#.to_owned(),
        r#"{"big":123456789012345678901234567890,"exp":1e400,"neg":-0}"#.to_owned(),
        r#"{"same":1,"same":2}"#.to_owned(),
        format!(r#"{{"long":"{}"}}"#, "x".repeat(200_000)),
        format!(r#""{}""#, words.get(..200_000).unwrap()),
        format!("{}1{}", "[".repeat(126), "]".repeat(126)),
        "null".to_owned(),
    ];
    for (number, payload) in payloads.iter().enumerate() {
        let id = format!("m{number}");
        let body = net.send(&with_payload(&id, payload)).await;
        net.notices.wait_stored("alice", &id, 1).await;
        let stored: Vec<u8> = sqlx::query_scalar("SELECT envelope FROM agent_messages WHERE message_id = $1")
            .bind(&id)
            .fetch_one(&net.pool)
            .await
            .unwrap();
        assert_eq!(stored, body);
        assert_eq!(Envelope::decode(&stored).unwrap().payload.get(), payload);
    }
    assert_eq!(net.number("SELECT count(*) FROM agent_quarantine").await, 0);
    let found = "SELECT count(*) FROM agent_messages WHERE search @@ to_tsquery('simple', 'a & b')";
    assert_eq!(net.number(found).await, 1);
    persister.stop().await;
}

#[tokio::test]
async fn a_message_without_time_to_live_is_stored_and_not_redelivered() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.send(&Envelope { ttl_ms: None, ..message("m1") }).await;
    net.send(&Envelope {
        sent_at: "nonsense".to_owned(),
        ttl_ms: Some(60_000),
        thread_id: None,
        ..message("M2")
    })
    .await;
    net.notices.wait_stored("alice", "m1", 1).await;
    net.notices.wait_stored("alice", "M2", 1).await;
    let endless = "SELECT count(*) FROM agent_messages m JOIN agent_deliveries d USING (message_id)
                   WHERE m.message_id = 'm1' AND m.expires_at IS NULL AND d.expires_at IS NULL
                     AND d.next_attempt_at IS NULL AND d.state = 'pending'";
    assert_eq!(net.number(endless).await, 1);
    let timed = "SELECT count(*) FROM agent_messages m JOIN agent_deliveries d USING (message_id)
                 WHERE m.message_id = 'M2' AND m.sent_at = m.received_at AND m.thread_id = 'thread_m2'
                   AND m.expires_at = m.received_at + interval '60 s' AND d.expires_at = m.expires_at
                   AND d.next_attempt_at = m.received_at + interval '3 s'";
    assert_eq!(net.number(timed).await, 1);
    persister.stop().await;
}

#[tokio::test]
async fn requests_are_redelivered_only_if_their_answer_has_an_address() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let request = Envelope { kind: "request".to_owned(), ..message("m1") };
    net.send(&request).await;
    net.send(&Envelope {
        message_id: "m2".to_owned(),
        reply_to: Some("account.alice.replies.x".to_owned()),
        ..request
    })
    .await;
    let reply =
        Envelope { kind: "reply".to_owned(), parent_message_id: Some("m1".to_owned()), ..message("m3") };
    net.publish("account.alice.replies.x", reply.encode().unwrap()).await;
    for id in ["m1", "m2", "m3"] {
        net.notices.wait_stored("alice", id, 1).await;
    }
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "SELECT message_id, next_attempt_at IS NOT NULL FROM agent_deliveries ORDER BY message_id",
    )
    .fetch_all(&net.pool)
    .await
    .unwrap();
    assert_eq!(rows, [("m1".to_owned(), false), ("m2".to_owned(), true)]);
    persister.stop().await;
}

#[tokio::test]
async fn threads_count_as_the_original_does() {
    let net = Net::start().await;
    let persister = net.persister().await;
    // json.dumps: {"text": "h\u00e9llo"} 22, {"n": [1, 2.0, null]} 21, {} 2; tokens 6 + 6 + 1.
    for (id, payload) in [("m1", r#"{"text":"héllo"}"#), ("m2", r#"{"n":[1,2.0,null]}"#), ("m3", "{}")] {
        net.send(&with_payload(id, payload)).await;
        net.notices.wait_stored("alice", id, 1).await;
    }
    let mut other = message("m4");
    other.from_account_id = Some("carol".to_owned());
    other.kind = "system".to_owned();
    net.send(&other).await;
    net.notices.wait_stored("carol", "m4", 1).await;
    type Row = (i64, i64, i64, i64, String, Option<String>);
    let row: Row = sqlx::query_as(
        "SELECT message_count, byte_count - 20, approx_tokens - 5, pending_raw_messages, participants::text,
                created_by_account_id FROM agent_threads",
    )
    .fetch_one(&net.pool)
    .await
    .unwrap();
    // m4's payload is {"text": "hello m4"}: 20 bytes, 5 tokens, and not pending.
    let participants = r#"["alice", "bob", "carol"]"#.to_owned();
    assert_eq!(row, (4, 45, 13, 3, participants, Some("alice".to_owned())));
    persister.stop().await;
}
