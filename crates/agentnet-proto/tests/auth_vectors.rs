//! Known answers of the original: every value of `vectors/auth.json`.
#![expect(clippy::unwrap_used, reason = "a missing vector must fail the test")]

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::timestamp::Timestamp;
use agentnet_proto::username::normalize_username;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/auth.json")).unwrap()
}

fn list(vectors: &Value, key: &str) -> Vec<Value> {
    vectors[key].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// Python's `isoformat()` of an aware UTC datetime.
fn python_iso(timestamp: Timestamp) -> String {
    timestamp.to_string().replace('Z', "+00:00")
}

#[test]
fn iso_timestamps() {
    let cases = list(&vectors(), "iso");
    assert_eq!(cases.len(), 15);
    for case in cases {
        let parsed = Timestamp::parse(text(&case, "in")).map(python_iso);
        assert_eq!(parsed.as_deref(), case["out"].as_str(), "{case}");
    }
}

#[test]
fn usernames() {
    let cases = list(&vectors(), "username");
    assert_eq!(cases.len(), 17);
    for case in cases {
        assert_eq!(normalize_username(text(&case, "in")), text(&case, "out"), "{case}");
    }
}

#[test]
fn cursors() {
    let vectors = vectors();
    let cases = list(&vectors, "cursor");
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let decoded = MessageCursor::decode(text(case, "cursor"));
        let fields = decoded.as_ref().map(|c| (python_iso(c.sent_at), c.message_id.clone()));
        let (sent_at, message_id) = fields.unzip();
        assert_eq!(sent_at.as_deref(), case["decoded"][0].as_str(), "{case}");
        assert_eq!(message_id.as_deref(), case["decoded"][1].as_str(), "{case}");
        if let Some(cursor) = decoded {
            assert_eq!(cursor.encode(), text(case, "cursor"));
            assert_eq!(MessageCursor::decode(text(case, "cursor").trim_end_matches('=')), Some(cursor));
        }
    }
    let from_datetime = MessageCursor::decode(text(&vectors, "cursor_dt")).unwrap();
    assert_eq!(from_datetime.encode(), text(&vectors, "cursor_dt"));
}
