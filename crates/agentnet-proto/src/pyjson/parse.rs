//! `json.loads` of CPython 3.11.

use super::value::{PyStr, PyValue};

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 128;

/// The longest integer in digits, Python's own limit against quadratic conversions.
pub const MAX_INT_DIGITS: usize = 4300;

/// The text was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct PyJsonError {
    /// What is wrong.
    pub kind: PyJsonErrorKind,
    /// Where, in bytes from the start of the text.
    pub offset: usize,
}

/// Why a text was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PyJsonErrorKind {
    /// Python's `json.loads` refuses it too.
    #[error("invalid JSON")]
    Syntax,
    /// More than [`MAX_DEPTH`] levels.
    #[error("JSON nested deeper than 128 levels")]
    TooDeep,
    /// More than [`MAX_INT_DIGITS`] digits; Python refuses it too.
    #[error("integer longer than 4300 digits")]
    IntTooLong,
}

/// Reads a JSON text as Python does: `NaN` and `Infinity` are numbers, `-0` is the integer 0, a lone surrogate
/// escape stays, of equal keys the first gives the place and the last the value.
///
/// # Errors
/// [`PyJsonErrorKind`] says why.
pub fn parse(text: &str) -> Result<PyValue, PyJsonError> {
    let mut parser = Parser { text, pos: 0 };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.pos < text.len() { Err(parser.error(PyJsonErrorKind::Syntax)) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
}

impl Parser<'_> {
    fn error(&self, kind: PyJsonErrorKind) -> PyJsonError {
        PyJsonError { kind, offset: self.pos }
    }

    fn syntax<T>(&self) -> Result<T, PyJsonError> {
        Err(self.error(PyJsonErrorKind::Syntax))
    }

    fn peek(&self) -> u8 {
        // NUL begins and continues no token, so it can stand for the end.
        self.text.as_bytes().get(self.pos).copied().unwrap_or(0)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text.as_bytes()[self.pos..].starts_with(token.as_bytes());
        if found {
            self.pos += token.len();
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.pos += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<PyValue, PyJsonError> {
        match self.peek() {
            b'"' => Ok(PyValue::Str(self.string()?)),
            b'{' | b'[' if depth == MAX_DEPTH => Err(self.error(PyJsonErrorKind::TooDeep)),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            _ if self.eat("null") => Ok(PyValue::Null),
            _ if self.eat("true") => Ok(PyValue::Bool(true)),
            _ if self.eat("false") => Ok(PyValue::Bool(false)),
            _ if self.eat("NaN") => Ok(PyValue::Float(f64::NAN)),
            _ if self.eat("Infinity") => Ok(PyValue::Float(f64::INFINITY)),
            _ if self.eat("-Infinity") => Ok(PyValue::Float(f64::NEG_INFINITY)),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<PyValue, PyJsonError> {
        self.pos += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.eat("]") {
            return Ok(PyValue::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.eat("]") {
                return Ok(PyValue::Array(items));
            }
            if !self.eat(",") {
                return self.syntax();
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<PyValue, PyJsonError> {
        self.pos += 1;
        let mut entries = Vec::new();
        self.skip_space();
        if self.eat("}") {
            return Ok(PyValue::Object(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != b'"' {
                return self.syntax();
            }
            let key = self.string()?;
            self.skip_space();
            if !self.eat(":") {
                return self.syntax();
            }
            self.skip_space();
            entries.push((key, self.value(depth)?));
            self.skip_space();
            if self.eat("}") {
                return Ok(PyValue::Object(unique(entries)));
            }
            if !self.eat(",") {
                return self.syntax();
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.pos;
        while self.peek().is_ascii_digit() {
            self.pos += 1;
        }
        self.pos - start
    }

    fn number(&mut self) -> Result<PyValue, PyJsonError> {
        let start = self.pos;
        let _ = self.eat("-");
        let leading_zero = self.peek() == b'0';
        let digits = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return self.syntax();
        }
        let mut is_float = false;
        if self.eat(".") {
            is_float = true;
            if self.digits() == 0 {
                return self.syntax();
            }
        }
        if self.eat("e") || self.eat("E") {
            is_float = true;
            let _ = self.eat("+") || self.eat("-");
            if self.digits() == 0 {
                return self.syntax();
            }
        }
        let token = &self.text[start..self.pos];
        if is_float {
            return token.parse().map(PyValue::Float).or_else(|_| self.syntax());
        }
        if digits > MAX_INT_DIGITS {
            return Err(PyJsonError { kind: PyJsonErrorKind::IntTooLong, offset: start });
        }
        Ok(PyValue::Int(if token == "-0" { "0" } else { token }.into()))
    }

    fn string(&mut self) -> Result<PyStr, PyJsonError> {
        self.pos += 1;
        let mut out = PyStr::default();
        loop {
            let rest = &self.text.as_bytes()[self.pos..];
            let plain = rest.iter().take_while(|&&b| b >= b' ' && b != b'"' && b != b'\\').count();
            out.0.extend_from_slice(&rest[..plain]);
            self.pos += plain;
            match self.peek() {
                b'"' => {
                    self.pos += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                // The end, or a control character, which Python's strict mode refuses.
                _ => return self.syntax(),
            }
        }
    }

    fn escape(&mut self) -> Result<u32, PyJsonError> {
        self.pos += 1;
        let point = match self.peek() {
            byte @ (b'"' | b'\\' | b'/') => u32::from(byte),
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => return self.unicode_escape(),
            _ => return self.syntax(),
        };
        self.pos += 1;
        Ok(point)
    }

    /// At the `u`; joins two escapes that are a surrogate pair.
    fn unicode_escape(&mut self) -> Result<u32, PyJsonError> {
        let Some(first) = self.hex4(self.pos + 1) else {
            return self.syntax();
        };
        self.pos += 5;
        if (0xd800..0xdc00).contains(&first) && self.text.as_bytes()[self.pos..].starts_with(b"\\u") {
            let second = self.hex4(self.pos + 2).filter(|unit| (0xdc00..0xe000).contains(unit));
            if let Some(second) = second {
                self.pos += 6;
                return Ok(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        Ok(first)
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.as_bytes().get(at..at + 4)?;
        digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
    }
}

/// Keeps the place of the first and the value of the last of equal keys, without a quadratic search.
fn unique(entries: Vec<(PyStr, PyValue)>) -> Vec<(PyStr, PyValue)> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|&a, &b| entries[a].0.cmp(&entries[b].0));
    if order.windows(2).all(|pair| entries[pair[0]].0 != entries[pair[1]].0) {
        return entries;
    }
    let mut slots: Vec<Option<(PyStr, PyValue)>> = entries.into_iter().map(Some).collect();
    let mut first = order[0];
    // A stable sort left equal keys in text order, so each later one overwrites.
    for &index in &order[1..] {
        let same = matches!((&slots[first], &slots[index]), (Some(a), Some(b)) if a.0 == b.0);
        if same {
            slots[first] = slots[index].take();
        } else {
            first = index;
        }
    }
    slots.into_iter().flatten().collect()
}
