//! Known answers of CPython 3.11: `vectors/iso.json` (text, `fromisoformat` in UTC or null) and
//! `vectors/pyjson.json` (text, canonical form or null, length of `json.dumps`).

use agentnet_proto::pyjson::{canonical_json, python_len};
use agentnet_proto::timestamp::Timestamp;

#[test]
fn timestamps_parse_as_in_python() {
    let cases: Vec<(String, Option<String>)> =
        serde_json::from_str(include_str!("vectors/iso.json")).unwrap();
    assert!(cases.len() > 250);
    for (text, want) in cases {
        assert_eq!(Timestamp::parse(&text).map(|t| t.to_string()), want, "{text:?}");
    }
}

#[test]
fn json_reads_and_writes_as_in_python() {
    let cases: Vec<(String, Option<String>, usize)> =
        serde_json::from_str(include_str!("vectors/pyjson.json")).unwrap();
    assert!(cases.len() > 300);
    for (text, canonical, len) in cases {
        assert_eq!(canonical_json(&text).ok(), canonical, "{text:?}");
        assert_eq!(python_len(&text).unwrap_or_default(), len, "{text:?}");
    }
}
