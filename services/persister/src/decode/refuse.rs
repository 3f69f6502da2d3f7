//! The quarantine.

use agentnet_proto::{AccountId, ErrorCode, skim};
use agentnet_store::ingest::{Item, QuarantineRow};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{About, Answer, Decoded, Raw, Refusal, fields};

/// Most bytes of a body that are kept.
const MAX_BODY: usize = 256 * 1_024;
/// Most headers, and longest value in bytes, that are kept.
const MAX_HEADERS: usize = 32;

pub(super) fn quarantine(raw: &Raw, refusal: &Refusal) -> Decoded {
    let row = QuarantineRow {
        subject: fields::for_people(&raw.subject),
        body: raw.body.slice(..raw.body.len().min(MAX_BODY)),
        headers: raw.headers.as_ref().map(headers).unwrap_or_default(),
        code: refusal.code.as_str(),
        detail: fields::for_people(&refusal.detail),
        stream_seq: raw.stream_seq.and_then(|seq| i64::try_from(seq).ok()),
        received_at: raw.received_at,
    };
    let answer =
        sender(&raw.body).filter(|_| !is_receipt(&raw.subject)).map(|(account, message_id)| Answer {
            account,
            message_id,
            about: About::Refused { code: refusal.code, detail: row.detail.clone() },
        });
    Decoded { item: Item::Quarantine(Box::new(row)), answer }
}

/// What takes the place of an item whose sender isn't proved.
pub(crate) fn unproved(raw: &Raw, code: ErrorCode) -> Item {
    quarantine(raw, &Refusal::new(code, code.meaning().trim())).item
}

/// What takes the place of an item whose content Postgres refused. `None` for what is in quarantine already.
pub(crate) fn refused_by_database(
    item: &Item,
    subject: &str,
    stream_seq: Option<u64>,
    error: &dyn std::error::Error,
) -> Option<QuarantineRow> {
    let (body, received_at) = match item {
        Item::Message(row) => (row.body.clone(), row.received_at),
        // All of a receipt that is kept.
        Item::Receipt(row) => (Bytes::from(format!("{row:?}")), row.received_at),
        Item::Quarantine(_) => return None,
    };
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Some(QuarantineRow {
        subject: fields::for_people(subject),
        body: body.slice(..body.len().min(MAX_BODY)),
        headers: Map::new(),
        code: ErrorCode::InvalidField.as_str(),
        detail: fields::for_people(&format!("the database refuses it: {cause}")),
        stream_seq: stream_seq.and_then(|seq| i64::try_from(seq).ok()),
        received_at,
    })
}

/// A receipt's author is not the sender of the message it names, so nothing failed for them.
fn is_receipt(subject: &str) -> bool {
    subject.ends_with(".receipts")
}

/// Account and message_id of a body that isn't an envelope, as far as they can be read.
fn sender(body: &[u8]) -> Option<(AccountId, String)> {
    let mut fields = skim::text_members(body, &["from_account_id", "message_id"]);
    let account = AccountId::new(fields.remove("from_account_id")?).ok()?;
    Some((account, fields.remove("message_id").unwrap_or_default()))
}

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    headers
        .iter()
        .take(MAX_HEADERS)
        .map(|(name, values)| {
            let values =
                values.iter().take(MAX_HEADERS).map(|value| Value::from(fields::for_people(value.as_str())));
            (fields::for_people(name.as_ref()), Value::Array(values.collect()))
        })
        .collect()
}
