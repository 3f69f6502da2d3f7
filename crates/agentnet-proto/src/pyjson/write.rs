//! `json.dumps`.

use std::fmt::{self, Write};

use super::escape::write_py_str;
use super::float::write_float;
use super::value::{PyStr, PyValue};

/// The arguments of `json.dumps` that differ between our two uses.
#[derive(Clone, Copy)]
struct Style {
    between_items: &'static str,
    after_key: &'static str,
    sort_keys: bool,
}

const CANONICAL: Style = Style { between_items: ",", after_key: ":", sort_keys: true };
const PYTHON_DEFAULT: Style = Style { between_items: ", ", after_key: ": ", sort_keys: false };

/// Counts what would be written.
struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

impl PyValue {
    /// Compact, keys sorted by code point, ASCII only.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        // Neither a String nor a counter refuses a write.
        let _ = write_value(&mut out, self, CANONICAL);
        out
    }

    /// The length in bytes of Python's default form: separators with a space, keys in insertion order.
    #[must_use]
    pub fn python_len(&self) -> usize {
        let mut count = Count(0);
        let _ = write_value(&mut count, self, PYTHON_DEFAULT);
        count.0
    }
}

fn write_value<W: Write>(out: &mut W, value: &PyValue, style: Style) -> fmt::Result {
    match value {
        PyValue::Null => out.write_str("null"),
        PyValue::Bool(true) => out.write_str("true"),
        PyValue::Bool(false) => out.write_str("false"),
        PyValue::Int(digits) => out.write_str(digits),
        PyValue::Float(float) => write_float(out, *float),
        PyValue::Str(text) => write_py_str(out, text),
        PyValue::Array(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_str(style.between_items)?;
                }
                write_value(out, item, style)?;
            }
            out.write_char(']')
        }
        PyValue::Object(entries) if style.sort_keys => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            write_entries(out, sorted.into_iter(), style)
        }
        PyValue::Object(entries) => write_entries(out, entries.iter(), style),
    }
}

fn write_entries<'a, W: Write>(
    out: &mut W,
    entries: impl Iterator<Item = &'a (PyStr, PyValue)>,
    style: Style,
) -> fmt::Result {
    out.write_char('{')?;
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.write_str(style.between_items)?;
        }
        write_py_str(out, key)?;
        out.write_str(style.after_key)?;
        write_value(out, value, style)?;
    }
    out.write_char('}')
}
