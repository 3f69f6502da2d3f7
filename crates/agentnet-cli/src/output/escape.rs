//! Text from the network on its way to a terminal.
//!
//! Names, payloads and ids are other people's text. Printed as they are, their control characters could move the
//! cursor, rewrite the line above, set the clipboard or hide what a name really is.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would do something else with `c` than show it: controls, and the marks that reorder text.
fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` with everything that acts on a terminal written as `\n`, `\x1b` or `\u{202e}`. Everything else, in any
/// script, stays as it is.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if !acts_on_terminal(c) => out.push(c),
            // Writing to a String can't fail.
            c if u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// As [`clean`], with line breaks and tabs kept: for text that is shown as a block.
pub fn clean_block(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            line.strip_suffix('\r').unwrap_or(line).split('\t').map(clean).collect::<Vec<_>>().join("    ")
        })
        .collect();
    lines.join("\n")
}

/// A JSON text of the same value in which nothing acts on a terminal. Such characters stand inside strings only,
/// except for the blanks of JSON itself, which stay.
pub fn clean_json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| acts_on_terminal(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acts(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_script_stay() {
        for name in ["weather_bot", "Éclair", "天気", "🤖 bot", "עברית", "a b"] {
            assert_eq!(clean(name), name);
            assert_eq!(clean_json(name), name);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(clean("\x1b]52;c;aGk=\x07x"), "\\x1b]52;c;aGk=\\x07x");
        assert_eq!(clean("a\nb\r\tc\0"), "a\\nb\\r\\tc\\x00");
        assert_eq!(clean("\u{9b}2J\u{7f}"), "\\x9b2J\\x7f");
        assert_eq!(clean("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
        for c in (0..0xa0_u32).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!clean(&format!("x{c}")).chars().any(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn blocks_keep_their_lines() {
        assert_eq!(clean_block("one\r\n\ttwo\x1b[2J"), "one\n    two\\x1b[2J");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"name": "a\u{9b}2J\u{7f}\u{202e}\n\u{feff}é"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = clean_json(&text);
        assert!(!safe.chars().any(|c| c != '\n' && acts_on_terminal(c)), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
