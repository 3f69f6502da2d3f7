//! Envelopes.

use std::time::Duration;

use agentnet_proto::{
    AccountId, Addressee, Envelope, ErrorCode, Subject,
    envelope::{CLOCK_TOLERANCE, LATE_HEADER, MAX_FIELD_LEN, MAX_TTL_MS, SIGNATURE_HEADER, body_hash, kind},
};
use agentnet_store::ingest::{Item, MessageRow, Recipient};

use super::{About, Answer, Decoded, Raw, Refusal, Rules, fields, payload};

pub(super) fn decode(raw: &Raw, subject: &Subject, rules: &Rules) -> Result<Decoded, Refusal> {
    from_envelope(raw, read(raw, rules)?, subject, rules)
}

/// Checks the fields and makes the row.
pub(super) fn from_envelope(
    raw: &Raw,
    mut envelope: Envelope,
    subject: &Subject,
    rules: &Rules,
) -> Result<Decoded, Refusal> {
    let signature =
        raw.headers.as_ref().and_then(|headers| headers.get(SIGNATURE_HEADER)).map(|s| s.as_str());
    check(&envelope, signature)?;
    check_thread(&mut envelope)?;
    check_ttl(&envelope)?;
    let late = is_late(raw, subject, &envelope, rules);
    let recipients = recipients(&envelope, subject, late, rules)?;
    let mailbox = mailbox(&envelope, subject, &recipients);
    let digest = payload::digest(envelope.payload.get());
    let bytes = i64::try_from(digest.bytes).unwrap_or(i64::MAX);
    let answer = envelope
        .from_account_id
        .as_deref()
        .and_then(|id| AccountId::new(id).ok())
        .map(|account| Answer { account, message_id: envelope.message_id.clone(), about: About::Message });
    let row = MessageRow {
        thread_id: envelope.thread_id_or_default().into_owned(),
        sent_at: envelope.sent_at().unwrap_or(raw.received_at),
        received_at: raw.received_at,
        expires_at: envelope
            .ttl()
            .map(|ttl| raw.received_at.saturating_add(if late { Duration::ZERO } else { ttl })),
        body_sha256: body_hash(&raw.body),
        body: raw.body.clone(),
        signature: signature.map(str::to_owned),
        search: digest.search,
        payload_bytes: bytes,
        tokens: bytes.saturating_add(i64::from(rules.chars_per_token) - 1)
            / i64::from(rules.chars_per_token.max(1)),
        checkpoint_end: digest.checkpoint_end,
        recipients,
        to_members: envelope.to_members,
        mailbox,
        message_id: envelope.message_id,
        parent_message_id: envelope.parent_message_id,
        from_account_id: envelope.from_account_id,
        from_session_tag: envelope.from_session_tag,
        to_account_id: envelope.to_account_id,
        to_agent: envelope.to_agent,
        kind: envelope.kind,
        schema_version: envelope.schema_version,
        idempotency_key: envelope.idempotency_key,
        trace_id: envelope.trace_id,
    };
    Ok(Decoded { item: Item::Message(Box::new(row)), answer })
}

/// What is addressed to a thread lies in it.
fn check_thread(envelope: &mut Envelope) -> Result<(), Refusal> {
    let Ok(Addressee::Thread(id)) = envelope.addressee() else {
        if envelope.to_members.is_empty() {
            return Ok(());
        }
        return Err(Refusal::new(ErrorCode::InvalidField, "to_members is for messages to a thread"));
    };
    if envelope.thread_id.as_ref().is_some_and(|thread| *thread != id) {
        return Err(Refusal::new(ErrorCode::InvalidField, "thread_id differs from the thread in to_agent"));
    }
    envelope.thread_id = Some(id);
    Ok(())
}

/// Size and shape.
pub(super) fn read(raw: &Raw, rules: &Rules) -> Result<Envelope, Refusal> {
    if raw.body.len() > rules.max_message_bytes {
        let detail = format!("{} bytes; at most {} are taken", raw.body.len(), rules.max_message_bytes);
        return Err(Refusal::new(ErrorCode::PayloadTooLarge, detail));
    }
    let envelope = Envelope::decode(&raw.body)
        .map_err(|error| Refusal::new(ErrorCode::InvalidEnvelope, error.to_string()))?;
    if envelope.message_id.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidEnvelope, "message_id is missing"));
    }
    Ok(envelope)
}

/// Every text that becomes a column, as recipients check it.
fn check(envelope: &Envelope, signature: Option<&str>) -> Result<(), Refusal> {
    if let Some(field) = envelope.unfit_field() {
        let detail = format!("{field} is longer than {MAX_FIELD_LEN} bytes or contains NUL");
        return Err(Refusal::new(ErrorCode::InvalidField, detail));
    }
    fields::check_opt(SIGNATURE_HEADER, signature)
}

/// The longest time to live that a sender may ask for.
fn check_ttl(envelope: &Envelope) -> Result<(), Refusal> {
    if envelope.ttl_ms.is_some_and(|ms| ms > MAX_TTL_MS) {
        return Err(Refusal::new(ErrorCode::TtlTooLong, ErrorCode::TtlTooLong.meaning().trim()));
    }
    Ok(())
}

/// Who must get the message. What the body says counts, because a resend comes on a subject that names nobody; only an
/// envelope without any account (the original's `to_agent` may be a mere label) is taken for the inbox it lay in.
fn recipients(
    envelope: &Envelope,
    subject: &Subject,
    late: bool,
    rules: &Rules,
) -> Result<Vec<Recipient>, Refusal> {
    if envelope.is_reply() || matches!(subject, Subject::Replies(..)) {
        return Ok(Vec::new());
    }
    let account = |id: &AccountId| id.as_str().to_owned();
    let name = match (envelope.addressee(), subject) {
        (Ok(to @ Addressee::Capability(_)), _) => to.to_string(),
        // One delivery for each member: the store knows them.
        (Ok(to @ Addressee::Thread(_)), _) => to.to_string(),
        (Ok(Addressee::Account(id)), _) if envelope.to_account_id.is_some() || rules.is_signed => {
            account(&id)
        }
        // Nobody signed the subject.
        (Err(_), _) if rules.is_signed => {
            return Err(Refusal::new(
                ErrorCode::WrongRecipient,
                "the envelope names nobody to deliver it to",
            ));
        }
        (_, Subject::Inbox(id)) => account(id),
        (Ok(Addressee::Account(id)), _) => account(&id),
        (Err(_), Subject::Capability(name)) => Addressee::Capability(name.clone()).to_string(),
        (Err(_), _) => return Ok(Vec::new()),
    };
    Ok(vec![Recipient { name, redeliver: !late && is_redelivered(envelope) }])
}

/// Whose blocks it must pass. What calls itself an answer and lies in an inbox is a message like any other; answers that
/// were asked for come on subjects of their own, and their copies are delivered to nobody.
fn mailbox(envelope: &Envelope, subject: &Subject, recipients: &[Recipient]) -> Option<String> {
    match (recipients, subject) {
        ([only], _) => Some(only.name.clone()).filter(|name| !name.contains(':')),
        ([], Subject::Inbox(id)) if envelope.is_reply() => Some(id.as_str().to_owned()),
        _ => None,
    }
}

/// Whether the sender says that the time to live is over. Counted from now the message would live on, and a request be
/// handled after its requester has given up; the sender's clock is not asked when that was, its word is enough, as it
/// shortens the life of its own message only. The first copy to come decides.
///
/// Where senders sign, the header isn't signed: then what they signed must say the same.
fn is_late(raw: &Raw, subject: &Subject, envelope: &Envelope, rules: &Rules) -> bool {
    let latest = raw.received_at.saturating_add(CLOCK_TOLERANCE);
    let is_over = || envelope.effective_expiry().is_some_and(|end| end <= latest);
    *subject == Subject::Resend
        && (!rules.is_signed || is_over())
        && raw.headers.as_ref().is_some_and(|headers| headers.get(LATE_HEADER).is_some())
}

/// Nobody waits for the answer to a request that doesn't say where it goes, once its sender has given up; and without
/// a time to live there is no telling how long to try.
fn is_redelivered(envelope: &Envelope) -> bool {
    let answerable = envelope.kind != kind::REQUEST || envelope.reply_to.is_some();
    answerable && envelope.ttl().is_some()
}
