//! The one spelling of a username.

use crate::pystr;

/// The longest username in characters.
pub const USERNAME_MAX: usize = 32;

/// What the usernames of guests begin with, and nobody else's.
pub const GUEST_PREFIX: &str = "guest";

/// Whether a username, in its one spelling, is reserved for guests.
pub fn is_guest(username: &str) -> bool {
    username.starts_with(GUEST_PREFIX)
}

/// Trims, lower-cases, turns every run of characters outside `[a-z0-9._-]` into one `_`, strips `._-` from
/// both ends and cuts to [`USERNAME_MAX`]. Empty when nothing usable is left.
///
/// The original's rule: two spellings name the same account exactly when this gives the same text.
#[must_use]
pub fn normalize_username(raw: &str) -> String {
    let mut name = String::with_capacity(USERNAME_MAX);
    let mut in_run = false;
    for c in pystr::strip(raw).chars().flat_map(char::to_lowercase) {
        let usable = matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        if usable || !in_run {
            name.push(if usable { c } else { '_' });
        }
        in_run = !usable;
    }
    let is_edge = |c: char| matches!(c, '.' | '_' | '-');
    let trimmed = name.trim_matches(is_edge);
    // ASCII only by now, so a byte is a character.
    trimmed[..trimmed.len().min(USERNAME_MAX)].trim_end_matches(is_edge).to_owned()
}
