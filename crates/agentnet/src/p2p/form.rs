//! Bodies as the seed's clients send them.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind};

/// The fields of a form, as they come: `data` is JSON, others are texts of an object. The seed doesn't say how its clients put
/// data beside files, so both are understood.
#[derive(Debug, Default)]
pub struct P2pForm {
    data: Option<Value>,
    texts: Map<String, Value>,
    bytes: usize,
}

impl P2pForm {
    /// Takes a field.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no JSON, or no text.
    pub fn field(&mut self, name: String, bytes: Vec<u8>) -> Result<(), Error> {
        self.bytes += bytes.len();
        if name == "data" {
            let data = serde_json::from_slice(&bytes).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("the field `data` is no JSON: {error}"))
            })?;
            self.data = Some(data);
            return Ok(());
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("the field `{name}` is no text")))?;
        self.texts.insert(name, Value::String(text));
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What the fields say.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for texts beside data that is no object.
    pub fn content(self) -> Result<Value, Error> {
        match self.data {
            None => Ok(Value::Object(self.texts)),
            Some(Value::Object(mut data)) => {
                for (name, text) in self.texts {
                    data.entry(name).or_insert(text);
                }
                Ok(Value::Object(data))
            }
            Some(data) if self.texts.is_empty() => Ok(data),
            Some(_) => Err(Error::new(ErrorKind::InvalidArgument, "fields come beside an object only")),
        }
    }
}

/// The query of an estimate: that of `{"query": ...}`, or the body itself.
#[must_use]
pub fn p2p_query(body: Value) -> Value {
    match body {
        Value::Object(mut map) if map.len() == 1 && map.contains_key("query") => {
            map.remove("query").unwrap_or_default()
        }
        bare => bare,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(fields: &[(&str, &str)]) -> Result<Value, Error> {
        let mut form = P2pForm::default();
        for (name, text) in fields {
            form.field((*name).to_owned(), text.as_bytes().to_vec())?;
        }
        form.content()
    }

    #[test]
    fn forms_become_data() {
        assert_eq!(of(&[]).unwrap(), json!({}));
        assert_eq!(of(&[("meta", "image")]).unwrap(), json!({"meta": "image"}));
        assert_eq!(of(&[("x", "1"), ("data", r#"{"n": 2}"#)]).unwrap(), json!({"n": 2, "x": "1"}));
        assert_eq!(of(&[("data", "[1]")]).unwrap(), json!([1]));
        assert!(of(&[("data", "[1]"), ("x", "1")]).is_err());
        assert!(of(&[("data", "{")]).is_err());
        assert_eq!(p2p_query(json!({"query": {"a": 1}})), json!({"a": 1}));
        assert_eq!(p2p_query(json!({"query": 1, "b": 2})), json!({"query": 1, "b": 2}));
    }
}
