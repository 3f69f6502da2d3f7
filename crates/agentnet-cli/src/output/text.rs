//! Fitting text into columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use agentnet_proto::Payload;

use super::escape::clean;

/// At most `columns` columns of `text`, the cut marked by an ellipsis. A wide character is never halved.
pub fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// What a message says, in one line that is safe to print: its text if it has one, else its JSON.
pub fn preview(payload: &Payload) -> String {
    match payload.as_text() {
        Some(text) => clean(text.trim()).into_owned(),
        None => clean(&one_line(payload)).into_owned(),
    }
}

/// The payload's JSON in one line. Line breaks between its tokens are blanks to JSON; inside strings they are
/// escaped already.
pub fn one_line(payload: &Payload) -> String {
    payload.get().replace(['\n', '\r'], " ")
}

/// Names joined for one cell.
pub fn join<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| clean(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Digits in groups of three.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_columns_not_by_bytes() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("天気予報", 5), "天気…");
        assert_eq!(shorten("天気予報", 4), "天…");
        assert_eq!(shorten("ééé", 3), "ééé");
        assert_eq!(shorten("abc", 0), "…");
    }

    #[test]
    fn previews_are_one_safe_line() {
        assert_eq!(preview(&Payload::text("hi\n\x1b[2Jthere")), "hi\\n\\x1b[2Jthere");
        let pretty = Payload::from_text("{\n \"a\":\n 1}".to_owned()).unwrap();
        assert_eq!(preview(&pretty), "{  \"a\":  1}");
    }

    #[test]
    fn groups_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }
}
