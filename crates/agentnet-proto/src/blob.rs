//! Files: the reference that a message carries, the names and types a file may have, and how bytes travel in requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, RpcError};
use crate::rpc::BlobInfo;

/// Longest file name, in bytes: what common file systems take.
pub const MAX_FILE_NAME: usize = 255;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 255;
/// Largest metadata of a blob, encoded, in bytes.
pub const MAX_BLOB_METADATA: usize = 4 * 1024;
/// Type of a payload or block that refers to a blob.
pub const BLOB_REF: &str = "blob_ref";
/// Where the bytes of a reference lie: the network's own object store. The original writes `local_fs`.
pub const STORAGE: &str = "nats_object_store";
/// What a blob is whose type nobody named.
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// Names that mean devices on Windows, with or without an extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// The payload, or the block of one, that refers to a blob. Fields as in the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// `blob_ref`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The blob; `registry.blob_read` takes it.
    pub blob_id: String,
    /// Where the bytes lie: `nats_object_store`.
    #[serde(default)]
    pub storage: String,
    /// Content type.
    #[serde(default = "default_content_type")]
    pub mime_type: String,
    /// Size in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// Name of the file. Written by others: never a path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// SHA-256 of the content, hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// When it was put, ISO 8601.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// What the owner says about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

fn default_content_type() -> String {
    DEFAULT_CONTENT_TYPE.to_owned()
}

impl BlobRef {
    /// Whether a payload or block refers to a blob, by the original's rule: an object whose `type` is `blob_ref` in any
    /// case, and whose `blob_id` isn't empty.
    pub fn is_one(value: &Value) -> bool {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        text("type").eq_ignore_ascii_case(BLOB_REF) && !text("blob_id").trim().is_empty()
    }

    /// The reference in a payload or block, if it is one that can be read.
    pub fn of(value: &Value) -> Option<Self> {
        Self::is_one(value).then(|| Self::deserialize(value).ok()).flatten()
    }
}

impl From<BlobInfo> for BlobRef {
    fn from(info: BlobInfo) -> Self {
        Self {
            kind: BLOB_REF.to_owned(),
            blob_id: info.blob_id,
            storage: STORAGE.to_owned(),
            mime_type: info.mime_type,
            size_bytes: info.size_bytes,
            filename: info.filename,
            sha256: info.sha256,
            created_at: info.created_at,
            metadata: info.metadata,
        }
    }
}

/// Whether a blob may have this name, and a file of it be made in any directory on any system.
///
/// # Errors
/// [`ErrorCode::BlobBadName`], with what is wrong: empty, longer than 255 bytes, `.` or `..`, separators, control
/// characters, characters that turn the writing direction, a dot or space at the end, the name of a device.
pub fn check_file_name(name: &str) -> Result<(), RpcError> {
    let bad =
        |what: &str| Err(RpcError::with_detail(ErrorCode::BlobBadName, format!("the file name {what}")));
    if name.is_empty() {
        return bad("is empty");
    }
    if name.len() > MAX_FILE_NAME {
        return bad("is longer than 255 bytes");
    }
    if matches!(name, "." | "..") {
        return bad("names a directory");
    }
    if name.contains(['/', '\\', ':']) {
        return bad("holds a separator of paths (/, \\ or :)");
    }
    if name.chars().any(|c| c.is_control() || is_direction(c)) {
        return bad("holds control characters");
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return bad("begins or ends with a space, or ends with a dot");
    }
    if is_device(name) {
        return bad("is the name of a device");
    }
    Ok(())
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let numbered = |prefix: &str| {
        let head = stem.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        head && stem.get(3..).is_some_and(|rest| rest.chars().count() == 1 && "0123456789¹²³".contains(rest))
    };
    DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device)) || numbered("COM") || numbered("LPT")
}

/// The name made fit to be a blob's, by the original's rule: what isn't a letter, digit, `-`, `_`, `.` or space becomes
/// `_`, spaces around and dots at the ends go, and what is too long is cut before the extension. `None` when nothing is
/// left.
pub fn sanitise_file_name(name: &str) -> Option<String> {
    let kept = name.chars().map(|c| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' });
    let text: String = kept.collect();
    let mut text = text.trim_matches([' ', '.']).to_owned();
    if text.len() > MAX_FILE_NAME {
        let (stem, extension) = match text.rsplit_once('.') {
            Some((stem, extension)) if extension.len() <= 16 => (stem, format!(".{extension}")),
            _ => (text.as_str(), String::new()),
        };
        let mut end = stem.len().min(MAX_FILE_NAME - extension.len());
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        text = format!("{}{extension}", stem.get(..end).unwrap_or_default().trim_end());
    }
    if is_device(&text) {
        text.insert(0, '_');
    }
    check_file_name(&text).ok().map(|()| text)
}

/// Whether the text is a content type: `type/subtype` of RFC 9110's tokens, with parameters whose values are tokens.
///
/// # Errors
/// [`ErrorCode::InvalidField`].
pub fn check_content_type(text: &str) -> Result<(), RpcError> {
    let is_token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let mut parts = text.split(';');
    let essence = parts.next().and_then(|part| part.trim_end().split_once('/'));
    let is_type = essence.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let parameters = parts.all(|part| {
        part.trim().split_once('=').is_some_and(|(name, value)| is_token(name) && is_token(value))
    });
    if is_type && parameters && text.len() <= MAX_CONTENT_TYPE {
        return Ok(());
    }
    Err(RpcError::with_detail(ErrorCode::InvalidField, "mime_type is no content type such as text/plain"))
}

/// A request or answer that carries bytes: one line of JSON, then the bytes as they are.
///
/// # Errors
/// The head can't be written as JSON.
pub fn frame(head: &impl Serialize, data: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(512 + data.len());
    // JSON without indentation holds no line break.
    serde_json::to_writer(&mut body, head)?;
    body.push(b'\n');
    body.extend_from_slice(data);
    Ok(body)
}

/// Head and bytes of what [`frame`] made. Without a line break all of it is head.
///
/// # Errors
/// The head isn't the JSON of a `T`.
pub fn unframe<T: DeserializeOwned>(body: &[u8]) -> Result<(T, &[u8]), serde_json::Error> {
    let mut parts = body.splitn(2, |byte| *byte == b'\n');
    let (head, data) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok((serde_json::from_slice(head)?, data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_that_could_be_paths_or_devices_are_refused() {
        for fine in ["a", "a b.txt", "naïve.pdf", ".profile", "console.log", "com10.txt", "a..b", "😀"] {
            assert!(check_file_name(fine).is_ok(), "{fine}");
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "NUL",
            "nul.txt",
            "Com1",
            "lpt9.tar.gz",
            "COM¹",
            "con .txt",
            "a.",
            "a ",
            " a",
            "gpj\u{202e}exe",
            &long,
        ] {
            let error = check_file_name(bad).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::BlobBadName), "{bad:?}");
        }
    }

    #[test]
    fn names_of_the_original_are_made_fit() {
        for (name, fit) in [
            ("report (1).pdf", Some("report _1_.pdf")),
            ("../../etc/passwd", Some("_.._etc_passwd")),
            ("  .a. ", Some("a")),
            ("nul.txt", Some("_nul.txt")),
            ("...", None),
            ("", None),
        ] {
            assert_eq!(sanitise_file_name(name).as_deref(), fit, "{name}");
        }
        let long = sanitise_file_name(&format!("{}.tar", "é".repeat(300))).unwrap();
        assert!(long.len() <= MAX_FILE_NAME && long.ends_with("é.tar"), "{long}");
    }

    #[test]
    fn content_types_are_tokens() {
        for fine in ["text/plain", "text/plain; charset=utf-8", "application/vnd.a+json"] {
            assert!(check_content_type(fine).is_ok(), "{fine}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "text/pl ain",
            "text/plain\r\nX: y",
            "a/b;c",
            "a/b; c=\"d\"",
            "a/ü",
        ] {
            assert!(check_content_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_are_told_by_the_originals_rule() {
        let reference = json!({"type": "BLOB_REF", "blob_id": "blob_1", "storage": "local_fs", "mime_type": "a/b",
            "size_bytes": 3, "filename": "f"});
        assert_eq!(BlobRef::of(&reference).unwrap().size_bytes, 3);
        for other in [
            json!("blob_ref"),
            json!({"type": "blob_ref", "blob_id": " "}),
            json!({"type": "x", "blob_id": "b"}),
        ] {
            assert!(!BlobRef::is_one(&other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_back(text in ".*", data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let head = json!({"a": text});
            let body = frame(&head, &data).unwrap();
            let (back, bytes): (Value, &[u8]) = unframe(&body).unwrap();
            prop_assert_eq!((back, bytes), (head, data.as_slice()));
        }

        #[test]
        fn whatever_is_made_fit_is_fit(name in ".*") {
            if let Some(fit) = sanitise_file_name(&name) {
                prop_assert!(check_file_name(&fit).is_ok());
            }
        }
    }
}
