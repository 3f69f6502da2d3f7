//! What can't be stored: kept in quarantine, answered, never in the way.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::{ReceiptStatus, envelope::MAX_FIELD_LEN};
use support::{Net, message, receipt};

const ENVELOPE: &str = r#""message_id":"bad","from_account_id":"alice","to_agent":"bob","payload":{}"#;

#[tokio::test]
async fn garbage_is_quarantined_and_the_stream_drains() {
    let net = Net::start().await;
    net.stream().await;
    let bodies: [&[u8]; 7] =
        [b"", b"not json", b"[1,2]", b"\"text\"", b"{\"message_id\":{}}", b"\xff\xfe", b"{\"payload\":1}"];
    for body in bodies {
        net.publish("account.bob.inbox", body).await;
        net.publish("account.alice.receipts", body).await;
    }
    net.send(&message("good")).await;
    let persister = net.persister().await;
    net.notices.wait_stored("alice", "good", 1).await;
    net.drained().await;
    assert_eq!(net.number("SELECT count(*) FROM agent_quarantine").await, 14);
    assert_eq!(net.number("SELECT count(*) FROM agent_messages").await, 1);
    let kept: Vec<u8> = sqlx::query_scalar("SELECT body FROM agent_quarantine WHERE stream_seq = 3")
        .fetch_one(&net.pool)
        .await
        .unwrap();
    assert_eq!(kept, b"not json");
    assert_eq!(persister.counters().quarantined, 14);
    persister.stop().await;
}

#[tokio::test]
async fn each_refusal_names_its_code_to_the_sender() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let long = "x".repeat(MAX_FIELD_LEN + 1);
    let nul = r#""thread_id":"a\u0000b""#.to_owned();
    let cases = [
        ("invalid_field", format!(r#"{{"message_id":"m1",{},"thread_id":"{long}"}}"#, &ENVELOPE[19..])),
        ("invalid_field", format!(r#"{{"message_id":"m2",{},{nul}}}"#, &ENVELOPE[19..])),
        ("invalid_envelope", format!(r#"{{"message_id":"m3",{},"to_agent":"twice"}}"#, &ENVELOPE[19..])),
        (
            "payload_too_large",
            format!(r#"{{"message_id":"m4",{},"x":"{}"}}"#, &ENVELOPE[19..], "y".repeat(256_000)),
        ),
        // Python's SDK writes them, and no JSON reader takes them.
        ("invalid_envelope", format!(r#"{{"message_id":"m5",{},"x":[NaN,-Infinity]}}"#, &ENVELOPE[19..])),
        ("invalid_envelope", format!(r#"{{"message_id":"m6",{},"x":{}"#, &ENVELOPE[19..], "[".repeat(200))),
    ];
    for (number, (code, body)) in (1..).zip(&cases) {
        net.publish("account.bob.inbox", body.as_bytes()).await;
        assert_eq!(net.notices.wait_failed("alice", &format!("m{number}")).await, *code);
    }
    net.publish("account.b\u{e9}b.inbox", format!("{{{ENVELOPE}}}")).await;
    assert_eq!(net.notices.wait_failed("alice", "bad").await, "invalid_account_id");
    net.drained().await;
    assert_eq!(net.number("SELECT count(*) FROM agent_messages").await, 0);
    persister.stop().await;
}

#[tokio::test]
async fn headers_that_command_the_server_are_refused() {
    let net = Net::start().await;
    let persister = net.persister().await;
    for (id, header) in [("m1", "Nats-Msg-Id"), ("m2", "nats-rollup-x"), ("m3", "NATS-Marker")] {
        net.publish_with("account.bob.inbox", &[(header, "1")], message(id).encode().unwrap()).await;
        assert_eq!(net.notices.wait_failed("alice", id).await, "header_forbidden");
    }
    let headers = [("Agentnet-Signature", "v2 key signature"), ("Traceparent", "00-1-2-01")];
    net.publish_with("account.bob.inbox", &headers, message("m4").encode().unwrap()).await;
    net.notices.wait_stored("alice", "m4", 1).await;
    let signature: String =
        sqlx::query_scalar("SELECT signature FROM agent_messages").fetch_one(&net.pool).await.unwrap();
    assert_eq!(signature, "v2 key signature");
    let kept: String = sqlx::query_scalar("SELECT headers::text FROM agent_quarantine ORDER BY id LIMIT 1")
        .fetch_one(&net.pool)
        .await
        .unwrap();
    assert_eq!(kept, r#"{"Nats-Msg-Id": ["1"]}"#);
    persister.stop().await;
}

#[tokio::test]
async fn a_row_that_postgres_refuses_does_not_block_its_batch() {
    let net = Net::start().await;
    net.stream().await;
    sqlx::query("ALTER TABLE agent_messages ADD CHECK (message_id NOT IN ('m7', 'm41'))")
        .execute(&net.pool)
        .await
        .unwrap();
    for number in 0..100 {
        net.send(&message(&format!("m{number}"))).await;
    }
    net.receipt("alice", &receipt("m8", ReceiptStatus::Processed, None)).await;
    let persister = net.persister().await;
    for poison in ["m7", "m41"] {
        assert_eq!(net.notices.wait_failed("alice", poison).await, "invalid_field");
    }
    net.drained().await;
    assert_eq!(net.number("SELECT count(*) FROM agent_messages").await, 98);
    assert_eq!(net.number("SELECT message_count FROM agent_threads").await, 98);
    assert_eq!(net.number("SELECT count(*) FROM agent_quarantine WHERE code = 'invalid_field'").await, 2);
    net.delivery_is("m8", "bob", "processed", true).await;
    persister.stop().await;
}
