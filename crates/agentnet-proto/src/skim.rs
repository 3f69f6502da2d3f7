//! Who sent something that can't be read as an envelope.

use std::collections::BTreeMap;

use crate::envelope::is_fit;

/// The text members `wanted` of the object that `body` begins, as far as it can be followed; those that don't fit an
/// envelope's short fields ([`is_fit`]) are left out. Of members that stand twice the first counts.
///
/// What no JSON reader takes still has a sender who should hear of it: Python's SDK writes `NaN` and `Infinity` into
/// payloads, and bodies may be cut short, nested too deep or not UTF-8. So values are skipped by their brackets and
/// strings only. Takes one pass over the body and keeps nothing but what it returns.
pub fn text_members(body: &[u8], wanted: &[&'static str]) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    let mut skim = Skim { body, at: 0 };
    if !skim.eat(b'{') {
        return found;
    }
    while let Some(key) = skim.string() {
        if !skim.eat(b':') {
            break;
        }
        let value = skim.string();
        if let (Some(key), Some(value)) = (decoded(key), value)
            && let Some(name) = wanted.iter().find(|name| **name == key)
            && let Some(text) = decoded(value)
            && is_fit(&text)
        {
            found.entry(*name).or_insert(text);
        }
        skim.skip_value();
        if !skim.eat(b',') {
            break;
        }
    }
    found
}

/// The text of a JSON string in its quotes.
fn decoded(quoted: &[u8]) -> Option<String> {
    serde_json::from_slice(quoted).ok()
}

struct Skim<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Skim<'a> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Takes `byte` if it comes next, after white space.
    fn eat(&mut self, byte: u8) -> bool {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a string if one comes next; with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at - 1;
        self.end_string().then(|| &self.body[start..self.at])
    }

    /// Goes behind the quote that ends the string begun before; whether there is one.
    fn end_string(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return true,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        false
    }

    /// Goes to the comma or bracket that ends the value.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b'}' | b']' if depth == 0 => return,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if byte == b'"' && !self.end_string() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: [&str; 3] = ["message_id", "from_account_id", "kind"];

    fn skim(body: impl AsRef<[u8]>) -> BTreeMap<&'static str, String> {
        text_members(body.as_ref(), &WANTED)
    }

    #[test]
    fn the_sender_is_found_in_what_no_json_reader_takes() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        for payload in
            [r#"{"x":NaN,"y":[-Infinity,"}"]}"#, &deep, r#""\ud800""#, "tru", r#"{"message_id":"inner"}"#]
        {
            let body = format!(
                r#" {{ "message_id" : "m\u0031" , "payload": {payload},"from_account_id":"acct_a","n":5 , "kind":null}}"#
            );
            let found = skim(body);
            assert_eq!(found["message_id"], "m1", "{payload}");
            assert_eq!(found["from_account_id"], "acct_a", "{payload}");
            assert_eq!(found.len(), 2, "{payload}");
        }
        let not_utf8 = [br#"{"payload":"#.as_slice(), b"\"\xff\xfe\"", br#","kind":"a"}"#].concat();
        assert_eq!(skim(not_utf8)["kind"], "a");
    }

    #[test]
    fn what_does_not_fit_or_is_cut_off_is_left_out() {
        assert!(skim(format!(r#"{{"kind":"{}"}}"#, "x".repeat(513))).is_empty());
        assert!(skim(r#"{"kind":"a\u0000"}"#).is_empty());
        assert_eq!(skim(r#"{"kind":"a","kind":"b"}"#)["kind"], "a");
        assert_eq!(skim(r#"{"message_id":"m","kind":"a"#).len(), 1);
        for nothing in
            ["", "[]", "null", "{", "{]", r#""kind""#, r#"{"kind""#, r#"{"kind":"#, r#"{"kind":"\"#]
        {
            assert!(skim(nothing).is_empty(), "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn it_ends_on_any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            skim(body);
        }

        #[test]
        fn it_finds_what_json_readers_find(
            id in "\\PC{0,20}", kind in "[a-z\"\\\\{}\\[\\],:]{0,20}", other in "\\PC{0,20}",
        ) {
            let body = serde_json::json!({"a": [other, {"kind": 1}], "kind": kind, "message_id": id, "z": 1.5});
            let found = skim(body.to_string());
            prop_assert_eq!(&found["kind"], &kind);
            prop_assert_eq!(&found["message_id"], &id);
        }
    }
}
