//! Properties of the text forms: what is printed reads back, and no input makes anything panic.

use std::time::Duration;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::dev_auth::{AuthBlock, Claims, SecretKey, verify};
use agentnet_proto::pyjson::{self, MAX_DEPTH, PyJsonErrorKind, PyStr, PyValue};
use agentnet_proto::rpc::{
    AgentInfo, ListRequest, MessageSearchRequest, RegisterRequest, RegisterResponse, SearchRequest,
    ThreadListRequest, ThreadMessagesRequest,
};
use agentnet_proto::username::{USERNAME_MAX, normalize_username};
use agentnet_proto::{
    FailedMessage, HandledMessage, Receipt, ReceiptStatus, StoredNotice, StoredReceipt, Timestamp,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, UtcOffset};

fn timestamps() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.to_offset().unix_timestamp()..=Timestamp::MAX.to_offset().unix_timestamp();
    (range, 0..1_000_000_000_i64).prop_map(|(seconds, nanos)| {
        let base = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Timestamp::from_offset(base.saturating_add(time::Duration::nanoseconds(nanos)))
    })
}

/// JSON-like text: mostly valid, with escapes, lone surrogates and Python's extra numbers.
fn json_text() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        any::<String>().prop_map(|s| serde_json::Value::String(s).to_string()),
        r#""(\\u[0-9a-fA-F]{4}|\\ud[89a-f][0-9a-f]{2}|[a-c]|é|😀){0,6}""#,
    ];
    let number = prop_oneof![
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?",
    ];
    let leaf = prop_oneof![
        string,
        number,
        prop_oneof![Just("null"), Just("true"), Just("NaN"), Just("Infinity"), Just("-Infinity")]
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop_oneof!["\"[a-c]\"", r#""(\\ud8[0-9a-f]{2}|é|z|😀){1,3}""#];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec((key, inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

/// Text that readers neither trim nor take for absent.
const TEXT: &str = "[a-zé😀\"\\\\{}]([ a-z😀]{0,8}[a-z])?";

fn opt() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(TEXT)
}

fn status() -> impl Strategy<Value = ReceiptStatus> {
    let known = [ReceiptStatus::Accepted, ReceiptStatus::Processed, ReceiptStatus::Rejected];
    prop_oneof![proptest::sample::select(known.to_vec()), "[a-z]{3}_new".prop_map(ReceiptStatus::Other),]
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let accounts = (TEXT, status(), TEXT, opt(), opt(), opt());
    let rest = (opt(), opt(), opt(), opt(), opt(), opt(), opt(), opt());
    (accounts, rest).prop_map(|(accounts, rest)| {
        let (message_id, status, event_at, from_account_id, from_session_tag, to_account_id) = accounts;
        let (trace_id, thread_id, parent_message_id, code, detail, to_agent, body_sha256, schema_version) =
            rest;
        Receipt {
            message_id,
            status,
            event_at,
            from_account_id,
            from_session_tag,
            to_account_id,
            trace_id,
            thread_id,
            parent_message_id,
            code,
            detail,
            to_agent,
            body_sha256,
            schema_version,
        }
    })
}

fn notice() -> impl Strategy<Value = StoredNotice> {
    let receipt = (TEXT, status()).prop_map(|(message_id, status)| StoredReceipt { message_id, status });
    let failed = (TEXT, TEXT, TEXT, TEXT, opt()).prop_map(|(message_id, state, code, detail, recipient)| {
        FailedMessage { message_id, state, code, detail, recipient }
    });
    let handled = (TEXT, status(), TEXT).prop_map(|(message_id, status, recipient)| HandledMessage {
        message_id,
        status,
        recipient,
    });
    let lists = (
        prop::collection::vec(TEXT, 0..4),
        prop::collection::vec(receipt, 0..4),
        prop::collection::vec(failed, 0..4),
        prop::collection::vec(handled, 0..4),
    );
    (TEXT, lists).prop_map(|(event_at, (message_ids, receipts, failed, handled))| StoredNotice {
        message_ids,
        receipts,
        failed,
        handled,
        ..StoredNotice::at(event_at)
    })
}

fn agent() -> impl Strategy<Value = AgentInfo> {
    let metadata = prop::collection::btree_map(TEXT, any::<i64>(), 0..3);
    let texts = (TEXT, any::<String>(), prop::collection::vec(TEXT, 0..4), metadata);
    (texts, (opt(), opt(), opt(), opt(), opt())).prop_map(|(texts, rest)| {
        let (agent_id, name, capabilities, metadata) = texts;
        let (account_id, username, session_tag, last_seen, schema_version) = rest;
        let metadata = metadata.into_iter().map(|(key, value)| (key, value.into())).collect();
        AgentInfo {
            agent_id,
            name,
            capabilities,
            metadata,
            account_id,
            username,
            session_tag,
            last_seen,
            schema_version,
        }
    })
}

/// What is printed reads back the same.
fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
) -> Result<(), TestCaseError> {
    let failed = |error: serde_json::Error| TestCaseError::fail(error.to_string());
    let text = serde_json::to_string(value).map_err(failed)?;
    prop_assert_eq!(&serde_json::from_str::<T>(&text).map_err(failed)?, value, "{}", text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_travels_between_agents_and_services_reads_back(receipt in receipt(), notice in notice(), agent in agent()) {
        reads_back(&receipt)?;
        reads_back(&notice)?;
        reads_back(&agent)?;
    }

    #[test]
    fn requests_read_back(
        agent in agent(), a in opt(), b in opt(), c in opt(), text in TEXT, limit in proptest::option::of(any::<i64>()),
        on: bool, seconds in 0.0..1e6_f64,
    ) {
        reads_back(&RegisterRequest {
            agent_id: agent.agent_id,
            name: agent.name,
            username: agent.username,
            account_id: agent.account_id,
            capabilities: agent.capabilities,
            metadata: agent.metadata,
            schema_version: agent.schema_version,
            ..RegisterRequest::default()
        })?;
        reads_back(&RegisterResponse {
            account_id: text.clone(),
            username: text.clone(),
            session_tag: text.clone(),
            heartbeat_interval: seconds,
            ttl_seconds: seconds,
            blocks: true,
            tasks_account: b.clone(),
            registered_at: text.clone(),
            schema_version: a.clone(),
        })?;
        reads_back(&ListRequest { account_id: a.clone(), capability: b.clone(), cursor: c.clone(), limit, ..ListRequest::default() })?;
        reads_back(&SearchRequest {
            query: text.clone(), capability: a.clone(), status: b.clone(), online_only: on, limit,
            sub_system_type: c.clone(),
        })?;
        reads_back(&ThreadListRequest {
            query: text.clone(),
            limit,
            participant_account_id: a.clone(),
            participant_username: b.clone(),
            cursor: c.clone(),
        })?;
        reads_back(&ThreadMessagesRequest { thread_id: text.clone(), limit, cursor: a.clone() })?;
        reads_back(&MessageSearchRequest {
            q: a, thread_id: b, kind: c, limit, cursor: Some(text), ..MessageSearchRequest::default()
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_timestamp_reads_back(at in timestamps()) {
        prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        let json = serde_json::to_string(&at).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        let millis = Timestamp::from_unix_millis(at.unix_millis()).unwrap();
        prop_assert!(millis <= at && at < millis.saturating_add(Duration::from_millis(1)) || at == Timestamp::MAX);
    }

    #[test]
    fn timestamps_sort_as_their_millis(a in timestamps(), b in timestamps()) {
        prop_assert!(a > b || a.unix_millis() <= b.unix_millis());
        prop_assert_eq!(a.duration_since(b), -b.duration_since(a));
        prop_assert!((a.duration_since(b) - (a.unix_millis() - b.unix_millis())).abs() <= 1);
    }

    #[test]
    fn timestamp_arithmetic_never_panics(at in timestamps(), secs: u64, nanos in 0..1_000_000_000_u32, ms: i64) {
        let by = Duration::new(secs, nanos);
        prop_assert!(at.saturating_add(by) >= at);
        prop_assert!(at.saturating_sub(by) <= at);
        if let Some(later) = at.checked_add(by) {
            prop_assert_eq!(Timestamp::parse(&later.to_string()), Some(later));
        }
        let moved = at.saturating_add_millis(ms);
        let right_way = if ms < 0 { moved <= at } else { moved >= at };
        prop_assert!(right_way, "{} moved by {} ms to {}", at, ms, moved);
        if let Some(at) = Timestamp::from_unix_millis(ms) {
            prop_assert_eq!(at.unix_millis(), ms);
        }
    }

    #[test]
    fn any_instant_becomes_a_readable_timestamp(
        seconds in -377_705_116_800..=253_402_300_799_i64, nanos in 0..1_000_000_000_u32, offset in -86_399..86_400
    ) {
        let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos).unwrap();
        let offset = UtcOffset::from_whole_seconds(offset).unwrap();
        let shifted = utc.checked_to_offset(offset).unwrap_or(utc);
        let at = Timestamp::from_offset(shifted);
        prop_assert_eq!(at, Timestamp::from_offset(utc));
        prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        // A local time of the last day that is past the end in UTC, and the like at the start.
        let edge = Timestamp::from_offset(utc.replace_offset(offset));
        prop_assert!(edge >= Timestamp::MIN && edge <= Timestamp::MAX);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text: String, dated in "[0-9]{4}-?(W?[0-9-]{0,5})[T é☃-]?[0-9:.,+Z-]{0,20}") {
        for text in [text.as_str(), dated.as_str()] {
            if let Some(at) = Timestamp::parse(text) {
                prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
            }
            let _ = MessageCursor::decode(text);
            let _ = pyjson::canonical_json(text);
            let _ = SecretKey::from_base64(text);
            prop_assert!(!verify(text, text.as_bytes(), text));
        }
    }

    #[test]
    fn no_json_like_text_makes_the_reader_panic(text in r#"([\[\]{}",:\\u0-9deE.+-]|null|NaN| |é){0,40}"#) {
        if let Ok(value) = pyjson::parse(&text) {
            prop_assert_eq!(pyjson::canonical_json(&value.canonical()), Ok(value.canonical()));
        }
    }

    #[test]
    fn canonical_json_is_its_own_canonical_form(text in json_text()) {
        let canonical = pyjson::canonical_json(&text).unwrap();
        prop_assert!(canonical.is_ascii());
        prop_assert_eq!(&pyjson::canonical_json(&canonical).unwrap(), &canonical);
        prop_assert_eq!(pyjson::payload_sha256(&text), pyjson::payload_sha256(&canonical));
        prop_assert!(pyjson::python_len(&text).unwrap() >= canonical.len());
    }

    #[test]
    fn floats_read_back(float: f64) {
        prop_assume!(!float.is_nan());
        prop_assert_eq!(pyjson::parse(&PyValue::Float(float).canonical()), Ok(PyValue::Float(float)));
    }

    #[test]
    fn strings_read_back(text: String) {
        let value = PyValue::Str(PyStr::from(text.as_str()));
        prop_assert_eq!(pyjson::parse(&value.canonical()), Ok(value.clone()));
        prop_assert_eq!(serde_json::from_str::<String>(&value.canonical()).unwrap(), text);
    }

    #[test]
    fn a_cursor_reads_back(sent_at in timestamps(), message_id in "[^\0]{1,80}") {
        let cursor = MessageCursor { sent_at, message_id };
        let text = cursor.encode();
        prop_assert_eq!(MessageCursor::decode(&text), Some(cursor.clone()));
        prop_assert_eq!(MessageCursor::decode(text.trim_end_matches('=')), Some(cursor));
    }

    #[test]
    fn a_normal_username_stays(raw: String) {
        let name = normalize_username(&raw);
        prop_assert!(name.len() <= USERNAME_MAX);
        prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)));
        prop_assert_eq!(&normalize_username(&name), &name);
        prop_assert_eq!(normalize_username(&format!(" @{name}")), name);
    }

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        seed: [u8; 32], claims in prop::collection::btree_map(any::<String>(), any::<String>(), 1..8), extra: String
    ) {
        let claims: Claims = claims;
        let mut auth = AuthBlock::sign(&SecretKey::from_seed(&seed), claims);
        prop_assert!(auth.verifies());
        if let Some(mut entry) = auth.claims.first_entry() {
            entry.get_mut().push_str(&extra);
            entry.get_mut().push('x');
        }
        prop_assert!(!auth.verifies());
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(pyjson::parse(&nested(MAX_DEPTH)).is_ok());
    for depth in [MAX_DEPTH + 1, 1_000_000] {
        let error = pyjson::parse(&nested(depth)).unwrap_err();
        assert_eq!((error.kind, error.offset), (PyJsonErrorKind::TooDeep, MAX_DEPTH));
    }
}

#[test]
fn equal_keys_take_the_first_place_and_the_last_value() {
    let PyValue::Object(entries) = pyjson::parse(r#"{"b":1,"a":2,"b":3,"c":4,"a":5,"b":6}"#).unwrap() else {
        panic!("an object");
    };
    let seen: Vec<(String, String)> =
        entries.iter().map(|(key, value)| (key.to_string_lossy().into_owned(), value.canonical())).collect();
    let want = [("b", "6"), ("a", "5"), ("c", "4")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(seen, want);
}
