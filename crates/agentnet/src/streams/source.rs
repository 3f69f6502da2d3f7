//! What can be streamed.

use crate::inbox::HandlerError;

/// One item of a stream that is sent: text, or why there is no more.
pub trait IntoDelta {
    /// The text.
    ///
    /// # Errors
    /// Whatever the source failed with; it ends the stream and stays in this process's log.
    fn into_delta(self) -> Result<String, HandlerError>;
}

impl IntoDelta for String {
    fn into_delta(self) -> Result<String, HandlerError> {
        Ok(self)
    }
}

impl IntoDelta for &str {
    fn into_delta(self) -> Result<String, HandlerError> {
        Ok(self.to_owned())
    }
}

impl<T: Into<String>, E: Into<HandlerError>> IntoDelta for Result<T, E> {
    fn into_delta(self) -> Result<String, HandlerError> {
        self.map(Into::into).map_err(Into::into)
    }
}

/// Bytes of `text` within a JSON string.
pub(super) fn json_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Cuts a long delta into parts of at most `max` bytes.
pub(super) fn split(delta: String, max: usize) -> Vec<String> {
    if delta.len() <= max {
        return vec![delta];
    }
    let mut parts = Vec::new();
    let mut rest = delta.as_str();
    while rest.len() > max {
        let at = rest.floor_char_boundary(max);
        let (part, more) = rest.split_at(at.max(1));
        parts.push(part.to_owned());
        rest = more;
    }
    parts.push(rest.to_owned());
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_those_of_the_writer_and_parts_make_the_whole(text in any::<String>(), max in 4_usize..40) {
            prop_assert_eq!(json_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
            let parts = split(text.clone(), max);
            prop_assert!(parts.iter().all(|part| part.len() <= max));
            prop_assert_eq!(parts.concat(), text);
        }
    }
}
