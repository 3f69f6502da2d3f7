//! The envelope's reading and writing: leniency of the original, nothing lost, nothing panics.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use agentnet_proto::{Addressee, Envelope, ErrorCode, Payload, Priority, Receipt, StoredNotice};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(value: &Value) -> Envelope {
    Envelope::decode(value.to_string().as_bytes()).unwrap()
}

#[test]
fn the_seeds_example_survives() {
    let text = r#"{"message_id":"b3d0","from_agent":"agent_a","from_account_id":"acct_01","from_session_tag":"registry_01J","to_agent":"agent_b","to_account_id":"acct_02","payload":{"text": "yo", "n": 123456789012345678901234567890, "f": 1e+16},"sent_at":"2026-02-21T08:00:00Z","ttl_ms":30000,"expires_at":"2026-02-21T08:00:30Z","trace_id":"b3d0","thread_id":"thread_b3d0","parent_message_id":null,"kind":"direct","schema_version":"1.1","idempotency_key":"order_123_step_1","auth":{"scheme":"dev-ed25519-v1","claims":{"message_id":"b3d0"}},"future":{"x": [1.0]}}"#;
    let e = Envelope::decode(text.as_bytes()).unwrap();
    assert_eq!(e.parent_message_id, None);
    assert_eq!(e.payload.get(), r#"{"text": "yo", "n": 123456789012345678901234567890, "f": 1e+16}"#);
    assert_eq!(e.payload.as_text().as_deref(), Some("yo"));
    assert_eq!(e.extra["future"].get(), r#"{"x": [1.0]}"#);
    let printed = e.encode().unwrap();
    assert_eq!(Envelope::decode(&printed).unwrap(), e);
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains(r#""n": 123456789012345678901234567890, "f": 1e+16"#), "{printed}");
    assert!(!printed.contains("parent_message_id"), "{printed}");
}

#[test]
fn absent_fields_take_the_originals_defaults() {
    let e = decode(&json!({}));
    assert_eq!((e.kind.as_str(), e.schema_version.as_str(), e.ttl_ms), ("direct", "1.0", None));
    assert_eq!(e.payload.get(), "{}");
    assert_eq!(e.effective_expiry(), None);
}

#[test]
fn scalars_are_coerced_as_the_original_does() {
    let e =
        decode(&json!({"message_id": 17, "kind": "", "ttl_ms": "30000", "trace_id": false, "thread_id": 1.5,
        "auth": "no object", "from_agent": true}));
    assert_eq!((e.message_id.as_str(), e.kind.as_str(), e.ttl_ms), ("17", "direct", Some(30000)));
    assert_eq!((e.trace_id, e.thread_id.as_deref(), e.auth), (None, Some("1.5"), None));
    assert_eq!(e.from_agent, "True");
    assert_eq!(decode(&json!({"ttl_ms": "soon"})).ttl_ms, None);
    assert_eq!(decode(&json!({"ttl_ms": [1]})).ttl_ms, None);
}

#[test]
fn what_is_no_envelope_is_refused() {
    for bad in [
        "",
        "[]",
        "1",
        "null",
        "{",
        "{\"message_id\":{}}",
        "{\"kind\":\"a\",\"kind\":\"b\"}",
        "{\"x\":1,\"x\":2}",
        "\u{0}",
    ] {
        assert!(Envelope::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Envelope::decode(b"\xff\xfe").is_err());
    let deep = format!("{{\"payload\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Envelope::decode(deep.as_bytes()).is_err());
}

#[test]
fn nul_and_lone_surrogates_pass_in_payloads() {
    let text = r#"{"message_id":"m","payload":{"a":"\u0000","b":"\ud800"}}"#;
    let e = Envelope::decode(text.as_bytes()).unwrap();
    assert_eq!(e.payload.get(), r#"{"a":"\u0000","b":"\ud800"}"#);
    assert_eq!(e.payload.value(), Value::Null);
    assert_eq!(Envelope::decode(&e.encode().unwrap()).unwrap(), e);
}

#[test]
fn expiry_is_the_earlier_of_both() {
    let at = |v: Value| decode(&v).effective_expiry().map(|t| t.to_string());
    let sent = "2026-02-21T08:00:00Z";
    assert_eq!(at(json!({"sent_at": sent, "ttl_ms": 1000})).as_deref(), Some("2026-02-21T08:00:01Z"));
    assert_eq!(
        at(json!({"sent_at": sent, "ttl_ms": 9000, "expires_at": "2026-02-21T08:00:02Z"})).as_deref(),
        Some("2026-02-21T08:00:02Z")
    );
    assert_eq!(at(json!({"sent_at": "?", "ttl_ms": 1000})), None);
    assert_eq!(decode(&json!({"sent_at": sent, "ttl_ms": -5})).ttl().unwrap().as_millis(), 0);
    assert_eq!(
        decode(&json!({"sent_at": sent, "ttl_ms": i64::MAX})).ttl().unwrap().as_secs(),
        30 * 24 * 3600
    );
    assert!(at(json!({"sent_at": sent, "ttl_ms": i64::MAX})).is_some());
}

#[test]
fn addressees() {
    let to = |v: Value| decode(&v).addressee();
    assert!(
        matches!(to(json!({"to_agent": "acct_1"})), Ok(Addressee::Account(id)) if id.as_str() == "acct_1")
    );
    assert!(
        matches!(to(json!({"to_agent": "label", "to_account_id": "acct_1"})), Ok(Addressee::Account(id)) if id.as_str() == "acct_1")
    );
    assert!(matches!(to(json!({"to_agent": "capability:sum"})), Ok(Addressee::Capability(_))));
    assert!(matches!(to(json!({"to_agent": "thread:t.1"})), Ok(Addressee::Thread(t)) if t == "t.1"));
    assert_eq!(to(json!({"to_agent": "capability:a.b"})), Err(ErrorCode::InvalidCapability));
    assert_eq!(to(json!({"to_agent": "a.b"})), Err(ErrorCode::InvalidAccountId));
    assert_eq!(to(json!({"to_agent": "thread:"})), Err(ErrorCode::InvalidTarget));
}

#[test]
fn short_fields_have_a_limit() {
    let fields = [
        "message_id",
        "from_agent",
        "to_agent",
        "kind",
        "schema_version",
        "from_account_id",
        "from_session_tag",
        "to_account_id",
        "thread_id",
        "parent_message_id",
        "trace_id",
        "idempotency_key",
    ];
    for field in fields {
        let unfit = |text: String| decode(&json!({field: text})).unfit_field();
        assert_eq!(unfit("x".repeat(512)), None, "{field}");
        assert_eq!(unfit("x".repeat(513)), Some(field));
        assert_eq!(unfit("a\0b".to_owned()), Some(field));
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn envelope()(
        texts in proptest::collection::vec(".{1,20}", 8),
        set in proptest::collection::vec(any::<bool>(), 12),
        ttl in any::<i64>(), hops in any::<i64>(), payload in json_value(), extra in json_value(),
        priority in proptest::sample::select(vec![Priority::Low, Priority::Normal, Priority::High, Priority::Critical]),
    ) -> Envelope {
        let t = |i: usize| set[i].then(|| texts[i % 8].clone());
        let mut e = decode(&json!({}));
        e.message_id = texts[0].clone();
        e.from_agent = texts[1].clone();
        e.to_agent = texts[2].clone();
        e.sent_at = texts[3].clone();
        e.kind = texts[4].clone();
        e.schema_version = texts[5].clone();
        (e.from_account_id, e.from_session_tag, e.to_account_id) = (t(0), t(1), t(2));
        (e.trace_id, e.thread_id, e.parent_message_id) = (t(3), t(4), t(5));
        (e.idempotency_key, e.reply_to, e.expires_at, e.content_type) = (t(6), t(7), t(8), t(9));
        e.ttl_ms = set[10].then_some(ttl);
        e.hops = set[11].then_some(hops);
        e.priority = set[0].then_some(priority);
        e.payload = Payload::from(payload);
        e.extra.insert("x_new".into(), Payload::from(extra));
        e
    }
}

proptest! {
    #[test]
    fn parse_of_print_is_the_envelope(e in envelope()) {
        prop_assert_eq!(Envelope::decode(&e.encode().unwrap()).unwrap(), e);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Envelope::decode(&bytes);
        let _ = serde_json::from_slice::<Receipt>(&bytes);
        let _ = serde_json::from_slice::<StoredNotice>(&bytes);
    }

    #[test]
    fn arbitrary_objects_never_panic(value in proptest::collection::btree_map(
        proptest::sample::select(vec!["message_id", "payload", "sent_at", "ttl_ms", "expires_at", "kind", "auth", "to_agent",
            "to_account_id", "priority", "hops", "schema_version", "event_at", "status", "message_ids", "other"]),
        json_value(), 0..10)) {
        let text = serde_json::to_vec(&value).unwrap();
        if let Ok(e) = Envelope::decode(&text) {
            let _ = (e.effective_expiry(), e.ttl(), e.addressee(), e.thread_id_or_default().into_owned());
            prop_assert_eq!(Envelope::decode(&e.encode().unwrap()).unwrap(), e);
        }
        let _ = serde_json::from_slice::<Receipt>(&text);
        let _ = serde_json::from_slice::<StoredNotice>(&text);
    }
}
