//! Python's `ensure_ascii` string form.

use std::fmt::{self, Write};

use super::value::PyStr;

/// Writes `text` as a JSON string of ASCII characters only.
pub(crate) fn write_string<W: Write>(out: &mut W, text: &str) -> fmt::Result {
    write_points(out, text.chars().map(u32::from))
}

/// Writes a Python string; a lone surrogate becomes its own escape.
pub(super) fn write_py_str<W: Write>(out: &mut W, text: &PyStr) -> fmt::Result {
    match text.as_str() {
        Some(text) => write_string(out, text),
        None => write_points(out, text.code_points()),
    }
}

fn write_points<W: Write>(out: &mut W, points: impl Iterator<Item = u32>) -> fmt::Result {
    out.write_char('"')?;
    for point in points {
        match char::from_u32(point) {
            Some('"') => out.write_str("\\\"")?,
            Some('\\') => out.write_str("\\\\")?,
            Some(c @ ' '..='~') => out.write_char(c)?,
            Some('\u{8}') => out.write_str("\\b")?,
            Some('\t') => out.write_str("\\t")?,
            Some('\n') => out.write_str("\\n")?,
            Some('\u{c}') => out.write_str("\\f")?,
            Some('\r') => out.write_str("\\r")?,
            Some(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            None => write!(out, "\\u{point:04x}")?,
        }
    }
    out.write_char('"')
}
