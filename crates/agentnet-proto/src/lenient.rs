//! Readers that take what the original's `str(x or "")` and `int(x)` coercions took.
//!
//! Peers written with the original SDKs rely on them: a number where a string belongs, null for absent.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Text as its reader wants it: owned, or borrowed from what is read wherever it stands there without escapes.
pub trait Content<'de>: Default {
    /// Text that lives as long as what is read.
    fn borrowed(text: &'de str) -> Self;
    /// Text made on the way.
    fn owned(text: String) -> Self;
}

impl Content<'_> for String {
    fn borrowed(text: &str) -> Self {
        text.to_owned()
    }
    fn owned(text: String) -> Self {
        text
    }
}

impl<'de> Content<'de> for Cow<'de, str> {
    fn borrowed(text: &'de str) -> Self {
        Cow::Borrowed(text)
    }
    fn owned(text: String) -> Self {
        Cow::Owned(text)
    }
}

/// A scalar as Python's `str()` prints it, `None` for what is falsy: null, `false`, 0 and "".
struct Scalar<S>(Option<S>);

struct ScalarVisitor<S>(PhantomData<S>);

impl<'de, S: Content<'de>> Visitor<'de> for ScalarVisitor<S> {
    type Value = Scalar<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number, boolean or null")
    }
    fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Scalar<S>, E> {
        Ok(Scalar((!v.is_empty()).then(|| S::borrowed(v))))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Scalar<S>, E> {
        self.visit_string(v.to_owned())
    }
    fn visit_string<E: de::Error>(self, v: String) -> Result<Scalar<S>, E> {
        Ok(Scalar((!v.is_empty()).then(|| S::owned(v))))
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Scalar<S>, E> {
        Ok(Scalar(v.then(|| S::owned("True".to_owned()))))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Scalar<S>, E> {
        Ok(Scalar((v != 0).then(|| S::owned(v.to_string()))))
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Scalar<S>, E> {
        Ok(Scalar((v != 0).then(|| S::owned(v.to_string()))))
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Scalar<S>, E> {
        Ok(Scalar((v != 0.0).then(|| S::owned(format!("{v:?}")))))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Scalar<S>, E> {
        Ok(Scalar(None))
    }
}

impl<'de, S: Content<'de>> Deserialize<'de> for Scalar<S> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ScalarVisitor(PhantomData))
    }
}

/// An optional string; empty counts as absent.
pub(crate) fn opt_string<'de, D, S>(d: D) -> Result<Option<S>, D::Error>
where
    D: Deserializer<'de>,
    S: Content<'de>,
{
    Ok(Scalar::deserialize(d)?.0)
}

/// An optional string with white space around it cut off.
pub(crate) fn opt_trimmed<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(opt_string::<D, String>(d)?.map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()))
}

/// A string; absent and null become "".
pub(crate) fn string<'de, D, S>(d: D) -> Result<S, D::Error>
where
    D: Deserializer<'de>,
    S: Content<'de>,
{
    Ok(Scalar::deserialize(d)?.0.unwrap_or_default())
}

/// A string with white space around it cut off; absent and null become "".
pub(crate) fn trimmed<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(opt_trimmed(d)?.unwrap_or_default())
}

/// A text and nothing else, borrowed if the reader wants that.
struct Strict<S>(S);

impl<'de, S: Content<'de>> Deserialize<'de> for Strict<S> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct StrictVisitor<S>(PhantomData<S>);
        impl<'de, S: Content<'de>> Visitor<'de> for StrictVisitor<S> {
            type Value = Strict<S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Strict<S>, E> {
                Ok(Strict(S::borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Strict<S>, E> {
                Ok(Strict(S::owned(v.to_owned())))
            }
        }
        d.deserialize_str(StrictVisitor(PhantomData))
    }
}

/// A text and nothing else.
pub(crate) fn text<'de, D: Deserializer<'de>, S: Content<'de>>(d: D) -> Result<S, D::Error> {
    Ok(Strict::deserialize(d)?.0)
}

/// A list of texts and nothing else.
pub(crate) fn texts<'de, D: Deserializer<'de>, S: Content<'de>>(d: D) -> Result<Vec<S>, D::Error> {
    Ok(Vec::<Strict<S>>::deserialize(d)?.into_iter().map(|text| text.0).collect())
}

/// An integer given as a number or as text; what isn't one is `None`.
pub(crate) fn opt_int<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    struct IntVisitor;
    impl<'de> Visitor<'de> for IntVisitor {
        type Value = Option<i64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer")
        }
        fn visit_bool<E>(self, v: bool) -> Result<Option<i64>, E> {
            Ok(Some(i64::from(v)))
        }
        fn visit_i64<E>(self, v: i64) -> Result<Option<i64>, E> {
            Ok(Some(v))
        }
        fn visit_u64<E>(self, v: u64) -> Result<Option<i64>, E> {
            Ok(Some(i64::try_from(v).unwrap_or(i64::MAX)))
        }
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and nothing needs more")]
        fn visit_f64<E>(self, v: f64) -> Result<Option<i64>, E> {
            Ok(v.is_finite().then_some(v as i64))
        }
        fn visit_str<E>(self, v: &str) -> Result<Option<i64>, E> {
            Ok(v.trim().parse().ok())
        }
        fn visit_unit<E>(self) -> Result<Option<i64>, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<i64>, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<i64>, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    d.deserialize_any(IntVisitor)
}

/// Python's `bool(x)`: any non-empty string, list or object and any number but 0 is true.
pub(crate) fn truthy<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Null => false,
        Value::Bool(b) => b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    })
}

/// A list of strings; anything but a list becomes an empty one, scalars in it become text, others are dropped.
pub(crate) fn strings<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let Value::Array(items) = Value::deserialize(d)? else { return Ok(Vec::new()) };
    Ok(items
        .into_iter()
        .filter_map(|item| Scalar::<String>::deserialize(item).ok().and_then(|s| s.0))
        .collect())
}

/// A list of strings or null. Anything else is an error: whom a message is for is nothing to guess at.
pub(crate) fn accounts<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// An object; anything else becomes an empty one.
pub(crate) fn object<'de, D: Deserializer<'de>>(d: D) -> Result<Map<String, Value>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Object(map) => map,
        _ => Map::new(),
    })
}

/// An object or nothing.
pub(crate) fn opt_object<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Map<String, Value>>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Object(map) => Some(map),
        _ => None,
    })
}

/// Makes a type of one of the readers above, for map visitors that read value by value.
macro_rules! reader {
    ($name:ident, $t:ty, $f:ident) => {
        pub(crate) struct $name(pub $t);
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $f(d).map(Self)
            }
        }
    };
}
reader!(OptString, Option<String>, opt_string);
reader!(Text, String, string);
reader!(Accounts, Vec<String>, accounts);
reader!(OptInt, Option<i64>, opt_int);
reader!(OptObject, Option<Map<String, Value>>, opt_object);

/// Unknown fields, kept exactly.
pub(crate) type Extra = BTreeMap<String, crate::envelope::Payload>;
