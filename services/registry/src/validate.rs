//! Limits of what a request may hold. What passes can be stored, compared and put into subjects.

use agentnet_proto::{AccountId, ErrorCode, RpcError, SubSystem};
use serde_json::{Map, Value};

/// Longest agent id or capability, in characters.
pub(crate) const MAX_NAME: usize = 128;
/// Longest display name or username as typed, in characters.
pub(crate) const MAX_TITLE: usize = 256;
/// Longest id or search text in a query, in characters.
pub(crate) const MAX_QUERY: usize = 512;
/// Most capabilities of one agent.
const MAX_CAPABILITIES: usize = 128;
/// Largest metadata of one agent, encoded, in bytes.
const MAX_METADATA: usize = 64 * 1024;

fn invalid(field: &str, what: &str) -> RpcError {
    RpcError::with_detail(ErrorCode::InvalidField, format!("{field} {what}"))
}

/// A name that people see: bounded, and nothing that moves a terminal's cursor.
pub(crate) fn name(field: &str, text: &str, max: usize) -> Result<(), RpcError> {
    if text.chars().count() > max {
        return Err(invalid(field, &format!("is longer than {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "holds control characters"));
    }
    Ok(())
}

/// Longest text of several lines, in characters.
pub(crate) const MAX_PROSE: usize = 4096;

/// As [`name`], for text of several lines.
pub(crate) fn prose(field: &str, text: &str) -> Result<(), RpcError> {
    text.split('\n').try_for_each(|line| name(field, line, MAX_PROSE))?;
    if text.chars().count() > MAX_PROSE {
        return Err(invalid(field, &format!("is longer than {MAX_PROSE} characters")));
    }
    Ok(())
}

/// A text to look for: bounded, and without NUL, which Postgres can't compare with.
pub(crate) fn query(field: &str, text: &str) -> Result<(), RpcError> {
    if text.chars().count() > MAX_QUERY {
        return Err(invalid(field, &format!("is longer than {MAX_QUERY} characters")));
    }
    if text.contains('\0') {
        return Err(invalid(field, "holds a NUL character"));
    }
    Ok(())
}

/// As [`query`], for fields that may be absent.
pub(crate) fn queries(fields: &[(&str, &Option<String>)]) -> Result<(), RpcError> {
    fields.iter().try_for_each(|(field, text)| text.as_deref().map_or(Ok(()), |text| query(field, text)))
}

/// An account id that may become part of a subject.
pub(crate) fn account_id(id: &str) -> Result<(), RpcError> {
    AccountId::new(id).map(drop).map_err(RpcError::from)
}

/// What an agent tells about itself.
pub(crate) fn told(capabilities: &[String], metadata: &Map<String, Value>) -> Result<(), RpcError> {
    if capabilities.len() > MAX_CAPABILITIES {
        return Err(invalid("capabilities", &format!("has more than {MAX_CAPABILITIES} entries")));
    }
    for capability in capabilities {
        name("capabilities", capability, MAX_NAME)?;
    }
    self::metadata("metadata", metadata, MAX_METADATA)?;
    SubSystem::all_of(metadata).map(drop)
}

/// A JSON object of at most `max` bytes that Postgres can hold.
pub(crate) fn metadata(field: &str, object: &Map<String, Value>, max: usize) -> Result<(), RpcError> {
    if object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
        return Err(invalid(field, "holds a NUL character"));
    }
    // Strings can't fail to encode; treated as too large if they should.
    if serde_json::to_vec(object).map_or(usize::MAX, |json| json.len()) > max {
        return Err(invalid(field, &format!("is larger than {max} bytes")));
    }
    Ok(())
}

/// Most words of one list, such as the services or tags of an agent.
const MAX_WORDS: usize = 128;

/// Words that agents are found by.
pub(crate) fn words(field: &str, words: &[String]) -> Result<(), RpcError> {
    if words.len() > MAX_WORDS {
        return Err(invalid(field, &format!("has more than {MAX_WORDS} entries")));
    }
    words.iter().try_for_each(|word| name(field, word, MAX_NAME))
}

/// Longest URL, in characters.
const MAX_URL: usize = 2048;

/// A URL that browsers may load a picture from: `http` or `https`, a host, no password in it. Empty is none.
pub(crate) fn picture_url(field: &str, text: &str) -> Result<(), RpcError> {
    if text.is_empty() {
        return Ok(());
    }
    web_url(field, text)
}

/// A URL of the web: `http` or `https`, a host, no password in it.
pub(crate) fn web_url(field: &str, text: &str) -> Result<(), RpcError> {
    name(field, text, MAX_URL)?;
    let url = url::Url::parse(text).map_err(|error| invalid(field, &format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid(field, "is no http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(field, "holds a name or password; everybody would see it"));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(name("name", &"é".repeat(256), MAX_TITLE).is_ok());
        for bad in ["a\0b", "a\u{1b}[2J", "a\nb", &"x".repeat(257)] {
            assert_eq!(name("name", bad, MAX_TITLE).unwrap_err().error, "invalid_field", "{bad:?}");
        }
    }

    #[test]
    fn pictures_come_from_the_web() {
        for good in ["", "https://example.org/a.png", "http://[::1]:8080/a?b#c"] {
            assert!(picture_url("avatar_url", good).is_ok(), "{good}");
        }
        for bad in [
            "a.png",
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "file:///etc/passwd",
            "https://u:p@h/",
            "https://",
        ] {
            assert_eq!(picture_url("avatar_url", bad).unwrap_err().error, "invalid_field", "{bad}");
        }
        assert!(picture_url("avatar_url", &format!("https://h/{}", "x".repeat(2048))).is_err());
    }

    #[test]
    fn nul_is_found_at_any_depth() {
        let metadata = |value: Value| Map::from_iter([("m".to_owned(), value)]);
        assert!(told(&[], &metadata(json!([{ "a": "fine" }, 1, null]))).is_ok());
        for bad in [json!("\0"), json!([["\0"]]), json!({ "\0": 1 }), json!("x".repeat(MAX_METADATA))] {
            assert!(told(&[], &metadata(bad)).is_err());
        }
        assert!(told(&vec![String::from("c"); 129], &Map::new()).is_err());
    }
}
