//! Where a page of a list ended.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::pyjson::write_string;
use crate::timestamp::Timestamp;

/// Longer text is no cursor of ours; refused before it is decoded.
const MAX_ENCODED: usize = 4096;

/// Pads when writing, as the original does; reads either way.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The last delivery of a page; the next one holds what comes strictly behind it: older messages, and the same
/// message's later recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCursor {
    /// When its message was sent.
    pub sent_at: Timestamp,
    /// The message.
    pub message_id: String,
    /// The recipient.
    pub recipient: String,
}

impl DeliveryCursor {
    /// The opaque text clients hand back.
    #[must_use]
    pub fn encode(&self) -> String {
        // Texts always encode.
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads [`Self::encode`]'s text; `None` for anything else.
    #[must_use]
    pub fn decode(encoded: &str) -> Option<Self> {
        if encoded.len() > MAX_ENCODED {
            return None;
        }
        let cursor: Self = serde_json::from_slice(&BASE64.decode(encoded.trim()).ok()?).ok()?;
        // Postgres can't compare with a NUL.
        (!cursor.message_id.contains('\0') && !cursor.recipient.contains('\0')).then_some(cursor)
    }
}

/// The last row of a page of a list that is ordered by texts, as those texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextCursor<const N: usize>(pub [String; N]);

impl<const N: usize> TextCursor<N> {
    /// The opaque text clients hand back.
    #[must_use]
    pub fn encode(&self) -> String {
        // Texts always encode.
        BASE64.encode(serde_json::to_vec(self.0.as_slice()).unwrap_or_default())
    }

    /// Reads [`Self::encode`]'s text; `None` for anything else.
    #[must_use]
    pub fn decode(encoded: &str) -> Option<Self> {
        if encoded.len() > MAX_ENCODED {
            return None;
        }
        let texts: Vec<String> = serde_json::from_slice(&BASE64.decode(encoded.trim()).ok()?).ok()?;
        // Postgres can't compare with a NUL.
        let texts: [String; N] = texts.try_into().ok()?;
        texts.iter().all(|text| !text.contains('\0')).then_some(Self(texts))
    }
}

/// The last message of a page; the next one holds what is strictly older than (`sent_at`, `message_id`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageCursor {
    /// When that message was sent.
    pub sent_at: Timestamp,
    /// Its id, which orders messages of one instant.
    pub message_id: String,
}

impl MessageCursor {
    /// The opaque text clients hand back: base64url, padded, of compact JSON with sorted keys.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut message_id = String::new();
        // A String refuses no write.
        let _ = write_string(&mut message_id, &self.message_id);
        BASE64.encode(format!("{{\"message_id\":{message_id},\"sent_at\":\"{}\"}}", self.sent_at))
    }

    /// Reads [`Self::encode`]'s text, with or without padding. `None` for anything else, which the original
    /// treats as no cursor at all.
    #[must_use]
    pub fn decode(encoded: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields {
            message_id: String,
            sent_at: Timestamp,
        }
        if encoded.len() > MAX_ENCODED {
            return None;
        }
        let json = BASE64.decode(encoded.trim()).ok()?;
        let Fields { message_id, sent_at } = serde_json::from_slice(&json).ok()?;
        // Postgres can't compare with a NUL, and no stored id is empty.
        (!message_id.is_empty() && !message_id.contains('\0')).then_some(Self { sent_at, message_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cursor_reads_back_and_nothing_else_does() {
        let cursor = TextCursor(["a\"b".to_owned(), "é".to_owned()]);
        assert_eq!(TextCursor::decode(&cursor.encode()), Some(cursor.clone()));
        assert_eq!(TextCursor::<1>::decode(&cursor.encode()), None);
        for other in ["", "x", "bnVsbA==", &BASE64.encode(r#"["a\u0000","b"]"#), &"A".repeat(5000)] {
            assert_eq!(TextCursor::<2>::decode(other), None, "{other}");
        }
    }
}
