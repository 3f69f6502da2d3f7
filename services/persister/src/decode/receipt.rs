//! Receipts.

use std::borrow::Cow;

use agentnet_proto::envelope::CAPABILITY_PREFIX;
use agentnet_proto::{AccountId, ErrorCode, Receipt, ReceiptStatus, schema_version};
use agentnet_store::ingest::{Effect, Item, ReceiptRow};

use super::{About, Answer, Decoded, Raw, Refusal, Rules, fields};

/// After so many deliveries by the stream the message of a receipt isn't waited for any longer. The receipt is then
/// kept with the account's own delivery, which is right for all but capabilities.
const GIVE_UP_AFTER: i64 = 5;

pub(super) fn decode(raw: &Raw, rules: &Rules) -> Result<Decoded, Refusal> {
    let receipt: Receipt<Cow<'_, str>> = serde_json::from_slice(&raw.body).map_err(|error| {
        let code = if error.is_data() { ErrorCode::InvalidField } else { ErrorCode::InvalidJson };
        Refusal::new(code, format!("not a receipt: {error}"))
    })?;
    let account = receipt.from_account_id.as_deref().unwrap_or_default();
    if receipt.message_id.is_empty() || account.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidField, "a receipt names message_id and from_account_id"));
    }
    fields::check("message_id", &receipt.message_id)?;
    fields::check("from_account_id", account)?;
    fields::check_opt("from_session_tag", receipt.from_session_tag.as_deref())?;
    fields::check_opt("to_agent", receipt.to_agent.as_deref())?;
    fields::check_opt("code", receipt.code.as_deref())?;
    let recipient = match receipt.to_agent.as_deref() {
        Some(to_agent) if to_agent.starts_with(CAPABILITY_PREFIX) => Some(to_agent.to_owned()),
        Some(_) => Some(account.to_owned()),
        None => (raw.delivered >= GIVE_UP_AFTER).then(|| account.to_owned()),
    };
    let body_sha256 = match receipt.body_sha256.as_deref().filter(|_| rules.is_signed) {
        Some(text) => Some(hash(text).ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidField, "body_sha256 is not a hash in lower-case hex")
        })?),
        None => None,
    };
    let row = ReceiptRow {
        needs_holder: rules.is_signed,
        body_sha256,
        effect: effect(&receipt, recipient.as_deref().is_some_and(|to| to.starts_with(CAPABILITY_PREFIX))),
        account_id: account.to_owned(),
        recipient,
        received_at: raw.received_at,
        message_id: receipt.message_id.to_string(),
        session_tag: receipt.from_session_tag.as_deref().map(str::to_owned),
        code: receipt.code.as_deref().map(str::to_owned),
        detail: receipt.detail.as_deref().map(fields::for_people),
    };
    // Older peers don't know the subject the confirmation comes on.
    let confirms = receipt.schema_version.as_deref().is_some_and(schema_version::is_at_least_1_2);
    let answer = AccountId::new(account).ok().filter(|_| confirms).map(|account| Answer {
        account,
        message_id: receipt.message_id.into_owned(),
        about: About::Receipt(receipt.status),
    });
    Ok(Decoded { item: Item::Receipt(Box::new(row)), answer })
}

/// 64 digits of lower-case hex.
fn hash(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

/// `any_holder`: the message is for whoever has a capability, and may still go to another.
fn effect(receipt: &Receipt<Cow<'_, str>>, any_holder: bool) -> Effect {
    match (&receipt.status, receipt.code()) {
        (ReceiptStatus::Accepted, _) => Effect::Accepted,
        (ReceiptStatus::Processed, _) => Effect::Processed,
        (ReceiptStatus::Rejected, Some(ErrorCode::Duplicate)) => Effect::Duplicate,
        (ReceiptStatus::Rejected, Some(code)) if code.is_temporary_refusal() => Effect::HeldBack,
        (ReceiptStatus::Rejected, Some(code)) if any_holder && code.is_one_holders_refusal() => {
            Effect::HeldBack
        }
        (ReceiptStatus::Rejected, _) => Effect::Rejected,
        (ReceiptStatus::Other(_), _) => Effect::None,
    }
}
