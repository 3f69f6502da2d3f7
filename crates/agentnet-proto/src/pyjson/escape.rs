//! Python's `ensure_ascii` string form.

use std::fmt::Write;

/// Appends `text` as a JSON string of ASCII characters only.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let mut units = [0; 2];
        match c {
            ' '..='~' if c != '"' && c != '\\' => out.push(c),
            _ => c.encode_utf16(&mut units).iter().for_each(|&unit| write_unit(out, unit)),
        }
    }
    out.push('"');
}

/// Appends the escape of one UTF-16 unit, the short one where JSON has it.
pub(crate) fn write_unit(out: &mut String, unit: u16) {
    match unit {
        0x22 => out.push_str("\\\""),
        0x5c => out.push_str("\\\\"),
        0x08 => out.push_str("\\b"),
        0x09 => out.push_str("\\t"),
        0x0a => out.push_str("\\n"),
        0x0c => out.push_str("\\f"),
        0x0d => out.push_str("\\r"),
        _ => {
            // Writing to a String can't fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}
