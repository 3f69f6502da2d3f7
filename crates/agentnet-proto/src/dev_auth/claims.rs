//! What is signed.

use std::collections::BTreeMap;

use crate::envelope::Envelope;
use crate::pyjson::write_string;

/// Claims by name. The map's order is code point order, the order in which they are signed.
pub type Claims = BTreeMap<String, String>;

/// The bytes that are signed: compact ASCII JSON with sorted keys.
#[must_use]
pub fn signing_bytes(claims: &Claims) -> Vec<u8> {
    let mut json = String::from("{");
    for (index, (name, value)) in claims.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        // A String refuses no write.
        let _ = write_string(&mut json, name);
        json.push(':');
        let _ = write_string(&mut json, value);
    }
    json.push('}');
    json.into_bytes()
}

/// The six claims of a register request.
#[derive(Debug, Clone, Copy)]
pub struct RegisterClaims<'a> {
    /// As registered.
    pub agent_id: &'a str,
    /// As registered.
    pub name: &'a str,
    /// As asked for, or "".
    pub username: &'a str,
    /// As asked for, or "".
    pub account_id: &'a str,
    /// Now, as a timestamp.
    pub timestamp: &'a str,
    /// Never used before.
    pub nonce: &'a str,
}

impl RegisterClaims<'_> {
    /// The claims as they are signed and sent.
    #[must_use]
    pub fn to_claims(&self) -> Claims {
        collect([
            ("agent_id", self.agent_id),
            ("name", self.name),
            ("username", self.username),
            ("account_id", self.account_id),
            ("timestamp", self.timestamp),
            ("nonce", self.nonce),
        ])
    }
}

/// The fourteen claims of a message: its envelope's fields as they stand on the wire, "" for absent ones.
///
/// Not covered: `from_agent`, `from_session_tag`, `reply_to`.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "each is the envelope's field of that name")]
pub struct MessageClaims<'a> {
    pub message_id: &'a str,
    pub from_account_id: &'a str,
    pub to_account_id: &'a str,
    pub to_agent: &'a str,
    pub sent_at: &'a str,
    /// Absent is signed as "0".
    pub ttl_ms: Option<i64>,
    pub expires_at: &'a str,
    pub trace_id: &'a str,
    pub thread_id: &'a str,
    pub parent_message_id: &'a str,
    pub kind: &'a str,
    /// Empty is signed as "1.0".
    pub schema_version: &'a str,
    pub idempotency_key: &'a str,
    /// From [`payload_sha256`](crate::pyjson::payload_sha256).
    pub payload_sha256: &'a str,
}

impl<'a> MessageClaims<'a> {
    /// What a signer of the envelope signs: its fields as they stand.
    #[must_use]
    pub fn of(envelope: &'a Envelope, payload_sha256: &'a str) -> Self {
        let text = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
        Self {
            message_id: &envelope.message_id,
            from_account_id: text(&envelope.from_account_id),
            to_account_id: text(&envelope.to_account_id),
            to_agent: &envelope.to_agent,
            sent_at: &envelope.sent_at,
            ttl_ms: envelope.ttl_ms,
            expires_at: text(&envelope.expires_at),
            trace_id: text(&envelope.trace_id),
            thread_id: text(&envelope.thread_id),
            parent_message_id: text(&envelope.parent_message_id),
            kind: &envelope.kind,
            schema_version: &envelope.schema_version,
            idempotency_key: text(&envelope.idempotency_key),
            payload_sha256,
        }
    }
}

impl MessageClaims<'_> {
    /// The claims as they are signed and sent.
    #[must_use]
    pub fn to_claims(&self) -> Claims {
        let mut claims = self.to_legacy_claims();
        let version = if self.schema_version.is_empty() { "1.0" } else { self.schema_version };
        claims.extend(collect([("schema_version", version), ("idempotency_key", self.idempotency_key)]));
        claims
    }

    /// The twelve claims of the oldest SDKs, which left `schema_version` and `idempotency_key` unsigned.
    #[must_use]
    pub fn to_legacy_claims(&self) -> Claims {
        let ttl_ms = self.ttl_ms.unwrap_or(0).to_string();
        collect([
            ("message_id", self.message_id),
            ("from_account_id", self.from_account_id),
            ("to_account_id", self.to_account_id),
            ("to_agent", self.to_agent),
            ("sent_at", self.sent_at),
            ("ttl_ms", &ttl_ms),
            ("expires_at", self.expires_at),
            ("trace_id", self.trace_id),
            ("thread_id", self.thread_id),
            ("parent_message_id", self.parent_message_id),
            ("kind", self.kind),
            ("payload_sha256", self.payload_sha256),
        ])
    }
}

fn collect<const N: usize>(claims: [(&str, &str); N]) -> Claims {
    claims.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
