//! Stored messages as the wire shows them, in pages that fit into one NATS message.

use std::collections::HashMap;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::envelope::PROTOCOL_FIELD;
use agentnet_proto::rpc::MessageRow;
use agentnet_proto::{Envelope, Payload};
use agentnet_store::messages::{Message, MessagePage};
use serde_json::{Map, Value, json};

use super::fit::{fit, json_len};

/// Rows that fit, and where the next page starts.
pub(super) struct Rows {
    pub(super) messages: Vec<MessageRow>,
    pub(super) next_cursor: Option<String>,
}

/// `vias` are the gateways that messages came through.
pub(super) fn rows(page: MessagePage, vias: &HashMap<String, String>, budget: usize) -> Rows {
    let cursors: Vec<MessageCursor> = page
        .messages
        .iter()
        .map(|m| MessageCursor { sent_at: m.sent_at, message_id: m.message_id.clone() })
        .collect();
    let mut messages: Vec<MessageRow> = page.messages.into_iter().map(|message| row(message, vias)).collect();
    if let Some(first) = messages.first_mut() {
        omit_if_larger(first, budget);
    }
    let cut = fit(&mut messages, budget);
    let last = messages.len().checked_sub(1).and_then(|last| cursors.get(last));
    let next_cursor = if cut || page.more { last.map(MessageCursor::encode) } else { None };
    Rows { messages, next_cursor }
}

fn row(message: Message, vias: &HashMap<String, String>) -> MessageRow {
    let mut metadata = Map::new();
    if let Some(via) = vias.get(&message.message_id) {
        metadata.insert("via".to_owned(), json!(via));
    }
    // Decoded before it was stored; should a later version refuse it, the rest of the row is still worth showing.
    let payload = match Envelope::decode(&message.envelope) {
        Ok(envelope) => {
            metadata.insert("ttl_ms".to_owned(), json!(envelope.ttl_ms));
            metadata.insert("expires_at".to_owned(), json!(envelope.expires_at));
            let scheme = envelope.auth.and_then(|mut auth| auth.remove("scheme"));
            metadata.insert("auth_scheme".to_owned(), scheme.unwrap_or(Value::Null));
            if let Some(priority) = envelope.priority {
                metadata.insert("priority".to_owned(), json!(priority));
            }
            if let Some(protocol) = envelope.extra.get(PROTOCOL_FIELD) {
                metadata.insert(PROTOCOL_FIELD.to_owned(), protocol.value());
            }
            if !envelope.to_members.is_empty() {
                metadata.insert("to_members".to_owned(), json!(envelope.to_members));
            }
            envelope.payload
        }
        Err(error) => {
            tracing::warn!(message_id = message.message_id, %error, "a stored envelope can't be read");
            metadata.insert("envelope_unreadable".to_owned(), Value::Bool(true));
            Payload::from(Value::Null)
        }
    };
    MessageRow {
        message_id: message.message_id,
        thread_id: message.thread_id,
        parent_message_id: message.parent_message_id,
        from_account_id: message.from_account_id,
        from_session_tag: message.from_session_tag,
        to_account_id: message.to_account_id,
        to_agent: message.to_agent,
        kind: message.kind,
        schema_version: message.schema_version,
        idempotency_key: message.idempotency_key,
        payload,
        trace_id: message.trace_id,
        sent_at: message.sent_at.to_string(),
        received_at: message.received_at.to_string(),
        status: message.status,
        metadata,
    }
}

/// A message that fills a whole NATS message leaves no room for the answer around it; without this no page could
/// ever get past it.
fn omit_if_larger(row: &mut MessageRow, budget: usize) {
    if json_len(row) > budget {
        row.metadata.insert("payload_omitted_bytes".to_owned(), json!(row.payload.get().len()));
        row.payload = Payload::from(Value::Null);
    }
}
