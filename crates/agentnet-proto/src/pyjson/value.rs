//! The values of Python's `json` module.

use std::borrow::Cow;
use std::fmt;

/// A Python string: code points, lone surrogates included.
///
/// Held in generalised UTF-8 (a surrogate takes three bytes), whose byte order is code point order, the order
/// in which Python sorts keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PyStr(pub(super) Vec<u8>);

/// What `json.loads` gives.
#[derive(Debug, Clone, PartialEq)]
pub enum PyValue {
    /// `None`.
    Null,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of any size, in decimal as Python prints it.
    Int(Box<str>),
    /// A float; may be infinite or NaN.
    Float(f64),
    /// A string.
    Str(PyStr),
    /// A list.
    Array(Vec<PyValue>),
    /// A dict in insertion order; keys are unique.
    Object(Vec<(PyStr, PyValue)>),
}

impl PyStr {
    /// The text, if it has no lone surrogate.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// The text with every lone surrogate replaced by U+FFFD.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match self.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(
                self.code_points().map(|point| char::from_u32(point).unwrap_or('\u{fffd}')).collect(),
            ),
        }
    }

    pub(super) fn push(&mut self, point: u32) {
        match char::from_u32(point) {
            Some(c) => self.0.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.0.extend([
                0xe0 | low(point >> 12, 0x0f),
                0x80 | low(point >> 6, 0x3f),
                0x80 | low(point, 0x3f),
            ]),
        }
    }

    pub(super) fn code_points(&self) -> impl Iterator<Item = u32> + '_ {
        let mut rest = self.0.iter().map(|&byte| u32::from(byte));
        std::iter::from_fn(move || {
            let first = rest.next()?;
            let (mut point, tail) = match first {
                ..0x80 => (first, 0),
                0x80..0xe0 => (first & 0x1f, 1),
                0xe0..0xf0 => (first & 0x0f, 2),
                _ => (first & 0x07, 3),
            };
            for byte in rest.by_ref().take(tail) {
                point = point << 6 | byte & 0x3f;
            }
            Some(point)
        })
    }
}

/// The bits of `point` under `mask`, which is at most 0x3f.
fn low(point: u32, mask: u32) -> u8 {
    u8::try_from(point & mask).unwrap_or_default()
}

impl From<&str> for PyStr {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for PyStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::escape::write_py_str(f, self)
    }
}
