//! What the counters, the index and the checkpoints take from a payload.

use agentnet_proto::pyjson::{self, PyValue};

use super::fields::cut;

/// Most text of one message that full-text search sees, in bytes. Far below what makes Postgres refuse a tsvector
/// (1 MB), whatever the words.
const MAX_SEARCH_LEN: usize = 64 * 1_024;

/// What a payload says to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// Bytes as the original counts them.
    pub(super) bytes: usize,
    /// Its strings and numbers.
    pub(super) search: String,
    /// Set for a checkpoint: how many messages of the thread it covers, 0 if it doesn't say.
    pub(super) checkpoint_end: Option<i64>,
}

/// Reads a payload's JSON text.
pub(super) fn digest(text: &str) -> Digest {
    let Ok(value) = pyjson::parse(text) else {
        // JSON to serde but not to Python: an integer of more than 4300 digits.
        return Digest { bytes: text.len(), ..Digest::default() };
    };
    let mut search = String::new();
    collect(&value, &mut search);
    Digest { bytes: value.python_len(), search, checkpoint_end: checkpoint_end(&value) }
}

fn collect(value: &PyValue, out: &mut String) {
    if out.len() >= MAX_SEARCH_LEN {
        return;
    }
    match value {
        PyValue::Null | PyValue::Bool(_) => {}
        PyValue::Int(digits) => push(digits, out),
        PyValue::Float(float) => push(&float.to_string(), out),
        PyValue::Str(text) => match text.as_str() {
            Some(text) => push(text, out),
            None => push(&text.to_string_lossy(), out),
        },
        PyValue::Array(items) => items.iter().for_each(|item| collect(item, out)),
        PyValue::Object(entries) => entries.iter().for_each(|(_, item)| collect(item, out)),
    }
}

fn push(text: &str, out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
    // NUL is the one character Postgres takes in no text; it becomes a space between words.
    let text = cut(text, MAX_SEARCH_LEN.saturating_sub(out.len()));
    out.extend(text.chars().map(|c| if c == '\0' { ' ' } else { c }));
}

fn checkpoint_end(value: &PyValue) -> Option<i64> {
    let PyValue::Object(entries) = value else { return None };
    let get = |name: &str| entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
    if !matches!(get("type"), Some(PyValue::Str(text)) if text.as_str() == Some("checkpoint")) {
        return None;
    }
    let end = match get("covers_end") {
        Some(PyValue::Int(digits)) => parse_int(digits),
        Some(PyValue::Str(text)) => text.as_str().and_then(|text| parse_int(text.trim())),
        Some(PyValue::Float(float)) => parse_int(&format!("{:.0}", float.trunc())),
        _ => None,
    };
    Some(end.unwrap_or(0).max(0))
}

fn parse_int(digits: &str) -> Option<i64> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_are_searchable_and_keys_are_not() {
        let digest = digest(r#"{"text":"Grüße","n":[1,2.5,true,null,{"deep":"a\u0000b"}]}"#);
        assert_eq!(digest.search, "Grüße\n1\n2.5\na b");
    }

    #[test]
    fn bytes_are_those_of_pythons_dumps() {
        // json.dumps({"text": "héllo"}) == '{"text": "h\\u00e9llo"}'
        assert_eq!(digest(r#"{"text":"héllo"}"#).bytes, 22);
        assert_eq!(digest("{}").bytes, 2);
    }

    #[test]
    fn what_python_cant_read_still_counts() {
        let big = format!("[{}]", "9".repeat(5_000));
        assert_eq!(digest(&big), Digest { bytes: 5_002, ..Digest::default() });
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let digest = digest(&format!(r#"["{}", "tail"]"#, "é".repeat(MAX_SEARCH_LEN)));
        assert!(digest.search.len() <= MAX_SEARCH_LEN + 1);
        assert!(!digest.search.contains("tail"));
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        assert_eq!(digest(r#"{"text":"x\ud800y"}"#).search, "x\u{fffd}y");
    }

    #[test]
    fn checkpoints() {
        let end = |text: &str| digest(text).checkpoint_end;
        assert_eq!(end(r#"{"type":"checkpoint","covers_start":1,"covers_end":12}"#), Some(12));
        assert_eq!(end(r#"{"type":"checkpoint","covers_end":"7"}"#), Some(7));
        assert_eq!(end(r#"{"type":"checkpoint","covers_end":7.9}"#), Some(7));
        for none in ["-4", "null", "[1]", "1e999", "99999999999999999999"] {
            assert_eq!(end(&format!(r#"{{"type":"checkpoint","covers_end":{none}}}"#)), Some(0), "{none}");
        }
        assert_eq!(end(r#"{"type":"note","covers_end":12}"#), None);
        assert_eq!(end(r#"["checkpoint"]"#), None);
    }
}
