//! `registry.evidence`: stored messages as they came, and the keys to check them with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::rpc::{EvidenceRequest, EvidenceResponse, EvidenceRow, KeyRow, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::messages::{self, Message, MessageFilter};
use agentnet_store::{access::Reader, keys};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fit::{fit, json_len};
use super::resolve_key::key_row;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn evidence(
    app: Arc<App>,
    call: Call,
    request: EvidenceRequest,
) -> Result<EvidenceResponse, RpcError> {
    validate::queries(&[("message_id", &request.message_id), ("thread_id", &request.thread_id)])?;
    if request.message_id.is_some() == request.thread_id.is_some() {
        let detail = "name a message_id or a thread_id";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        read(&app, &reader, &request).await
    };
    let (page, keys) =
        app.within("db.evidence", QUERY_DEADLINE, ErrorCode::ThreadMessagesFailed, work).await?;
    let budget = app.row_budget();
    let left = budget.saturating_sub(json_len(&keys));
    let cursors: Vec<MessageCursor> = page
        .messages
        .iter()
        .map(|m| MessageCursor { sent_at: m.sent_at, message_id: m.message_id.clone() })
        .collect();
    let mut rows: Vec<EvidenceRow> = page.messages.into_iter().map(row).collect();
    let cut = fit(&mut rows, left);
    let last = rows.len().checked_sub(1).and_then(|last| cursors.get(last));
    Ok(EvidenceResponse {
        deployment: app.config.deployment.to_string(),
        next_cursor: if cut || page.more { last.map(MessageCursor::encode) } else { None },
        messages: rows,
        keys,
        generated_at: app.now().to_string(),
    })
}

/// The messages, and every key of their senders.
async fn read(
    app: &App,
    reader: &Reader,
    request: &EvidenceRequest,
) -> Result<(messages::MessagePage, BTreeMap<String, Vec<KeyRow>>), Failed> {
    let pool = app.store.pool();
    let message_id = request.message_id.as_deref();
    // Whether one may read a message depends on its thread.
    let thread_id = match message_id {
        Some(id) => messages::thread_of(pool, id).await?.ok_or(Failed::NotFound)?,
        None => request.thread_id.clone().unwrap_or_default(),
    };
    let filter = MessageFilter { thread_id: Some(&thread_id), message_id, ..MessageFilter::of(reader) };
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    // In base64 they take a third more, and the keys need room, too.
    let budget = app.row_budget() / 2;
    let page =
        messages::page(pool, &filter, after.as_ref(), clamp_limit(request.limit, 50, 200), budget).await?;
    if page.messages.is_empty() && message_id.is_some() {
        return Err(Failed::NotFound);
    }
    let senders: BTreeSet<&str> = page.messages.iter().filter_map(|m| m.from_account_id.as_deref()).collect();
    let senders: Vec<&str> = senders.into_iter().collect();
    let mut keys: BTreeMap<String, Vec<KeyRow>> = BTreeMap::new();
    let signers: BTreeSet<&str> = page.messages.iter().filter_map(Message::signer).collect();
    let signers: Vec<&str> = signers.into_iter().collect();
    for span in keys::history(pool, &senders, &signers).await? {
        keys.entry(span.account_id.clone()).or_default().push(key_row(span, app.now()));
    }
    Ok((page, keys))
}

fn row(message: Message) -> EvidenceRow {
    EvidenceRow {
        message_id: message.message_id,
        envelope: STANDARD.encode(&message.envelope),
        signature: message.signature,
        received_at: message.received_at.to_string(),
    }
}
