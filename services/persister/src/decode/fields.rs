//! The short texts of envelopes and receipts.

use agentnet_proto::{ErrorCode, envelope::MAX_FIELD_LEN};

use super::Refusal;

/// Longest explanation that is kept, in bytes.
const MAX_DETAIL_LEN: usize = 1_024;

/// Checks that a column can hold the text: length, no NUL.
pub(super) fn check(name: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_FIELD_LEN {
        let detail = format!("{name} is longer than {MAX_FIELD_LEN} bytes");
        return Err(Refusal::new(ErrorCode::InvalidField, detail));
    }
    if text.contains('\0') {
        return Err(Refusal::new(ErrorCode::InvalidField, format!("{name} contains NUL")));
    }
    Ok(())
}

/// As [`check`], for a field that may be absent.
pub(super) fn check_opt(name: &str, text: Option<&str>) -> Result<(), Refusal> {
    text.map_or(Ok(()), |text| check(name, text))
}

/// A text for people: NUL becomes a space, what is too long is cut.
pub(super) fn for_people(text: &str) -> String {
    cut(text, MAX_DETAIL_LEN).replace('\0', " ")
}

/// The longest prefix of at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}
