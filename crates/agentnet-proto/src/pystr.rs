//! String rules of the original's Python, where they differ from Rust's.

/// Trims like Python's `str.strip()`.
///
/// Python also counts the separators U+001C..U+001F as white space; Rust doesn't.
pub(crate) fn strip(s: &str) -> &str {
    s.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
