//! Replies between original SDKs, which travel on `_INBOX.` subjects that the stream doesn't capture.

use agentnet_proto::{Envelope, Subject};

use super::{Decoded, Raw, Rules, check_headers, message};

/// Decodes what the tap heard if it is an answer of one agent to another, and not any of the other things on such
/// subjects. A `message_id` alone proves nothing: anybody's answers may carry one.
pub fn decode_tapped(raw: &Raw, rules: &Rules) -> Option<Decoded> {
    // Nearly everything here is no envelope; don't parse it all.
    let has = |field: &[u8]| raw.body.windows(field.len()).any(|window| window == field);
    if raw.body.first() != Some(&b'{')
        || raw.body.len() > rules.max_message_bytes
        || !has(b"\"parent_message_id\"")
    {
        return None;
    }
    let envelope = message::read(raw, rules).ok()?;
    if !is_reply(&envelope) || check_headers(raw).is_err() {
        return None;
    }
    // A reply has no recipients, whatever the subject.
    message::from_envelope(raw, envelope, &Subject::Resend, rules).ok()
}

fn is_reply(envelope: &Envelope) -> bool {
    let parent = envelope.parent_message_id.as_deref().unwrap_or_default();
    envelope.is_reply()
        && !parent.is_empty()
        && parent != envelope.message_id
        && !envelope.from_agent.is_empty()
        && !envelope.to_agent.is_empty()
        && agentnet_proto::schema_version::check(&envelope.schema_version).is_ok()
}
