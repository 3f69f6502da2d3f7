//! Known answers of the original: every value of `vectors/auth.json`.
#![expect(clippy::unwrap_used, reason = "a missing vector must fail the test")]

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::dev_auth::{
    self, AuthBlock, Claims, MessageClaims, RegisterClaims, SecretKey, check_message_signature, signing_bytes,
};
use agentnet_proto::pyjson::{canonical_json, parse, payload_sha256};
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

fn key(vectors: &Value) -> SecretKey {
    SecretKey::from_base64(text(vectors, "private_key")).unwrap()
}

/// The claims of `case`; checks that they sign, byte for byte, as the original signs them.
fn signed_claims(vectors: &Value, case: &Value) -> Claims {
    let claims: Claims = serde_json::from_value(case["claims"].clone()).unwrap();
    assert_eq!(String::from_utf8(signing_bytes(&claims)).unwrap(), text(case, "signing_bytes"));
    let auth = AuthBlock::sign(&key(vectors), claims.clone());
    assert_eq!(auth.signature, text(case, "signature"));
    assert_eq!(auth.public_key, text(vectors, "public_key"));
    assert!(auth.verifies());
    claims
}

#[test]
fn keys() {
    let vectors = vectors();
    let hex = text(&vectors, "seed_hex");
    let seed: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let from_seed = SecretKey::from_seed(&seed.try_into().unwrap());
    assert_eq!(from_seed.expose_base64(), text(&vectors, "private_key"));
    assert_eq!(from_seed.public_key(), text(&vectors, "public_key"));
    assert_eq!(key(&vectors).public_key(), text(&vectors, "public_key"));
}

#[test]
fn register_claims() {
    let vectors = vectors();
    let cases = list(&vectors, "register");
    assert_eq!(cases.len(), 2);
    for case in &cases {
        let claims = signed_claims(&vectors, case);
        let of = |name: &str| claims[name].as_str();
        let built = RegisterClaims {
            agent_id: of("agent_id"),
            name: of("name"),
            username: of("username"),
            account_id: of("account_id"),
            timestamp: of("timestamp"),
            nonce: of("nonce"),
        };
        assert_eq!(built.to_claims(), claims);
    }
}

#[test]
fn message_claims() {
    let vectors = vectors();
    let cases = list(&vectors, "message");
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let claims = signed_claims(&vectors, case);
        let of = |name: &str| claims[name].as_str();
        let sha256 = payload_sha256(text(case, "payload_json")).unwrap();
        let ttl_ms = Some(of("ttl_ms").parse().unwrap()).filter(|&ttl| ttl != 0);
        let built = MessageClaims {
            message_id: of("message_id"),
            from_account_id: of("from_account_id"),
            to_account_id: of("to_account_id"),
            to_agent: of("to_agent"),
            sent_at: of("sent_at"),
            ttl_ms,
            expires_at: of("expires_at"),
            trace_id: of("trace_id"),
            thread_id: of("thread_id"),
            parent_message_id: of("parent_message_id"),
            kind: of("kind"),
            schema_version: Some(of("schema_version")).filter(|&v| v != "1.0").unwrap_or_default(),
            idempotency_key: of("idempotency_key"),
            payload_sha256: &sha256,
        };
        assert_eq!(built.to_claims(), claims);
        let auth = AuthBlock {
            scheme: dev_auth::SCHEME.to_owned(),
            public_key: text(&vectors, "public_key").to_owned(),
            claims: built.to_claims(),
            signature: text(case, "signature").to_owned(),
        };
        assert_eq!(check_message_signature(&auth, text(&vectors, "public_key"), &built), Ok(()));
    }
}

#[test]
fn payload_digests() {
    let cases = list(&vectors(), "payload_digest");
    assert_eq!(cases.len(), 12);
    for case in &cases {
        let raw = text(case, "payload_json");
        assert_eq!(canonical_json(raw).unwrap(), text(case, "canonical"));
        assert_eq!(payload_sha256(raw).unwrap(), text(case, "sha256"));
        // The vectors' payloads are written as `json.dumps` writes them, so their length is the answer.
        assert_eq!(parse(raw).unwrap().python_len(), raw.len(), "{raw}");
    }
}
