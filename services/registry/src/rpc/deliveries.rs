//! `registry.deliveries`: messages and what became of them at each recipient, newest first.

use std::sync::Arc;

use agentnet_proto::cursor::DeliveryCursor;
use agentnet_proto::rpc::{DeliveriesRequest, DeliveriesResponse, DeliveryRow, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError, Timestamp};
use agentnet_store::deliveries::{self, Delivery, DeliveryFilter};

use super::fit::fit;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

const STATES: [&str; 6] = ["pending", "accepted", "processed", "rejected", "expired", "dead"];

pub(super) async fn deliveries(
    app: Arc<App>,
    call: Call,
    request: DeliveriesRequest,
) -> Result<DeliveriesResponse, RpcError> {
    validate::queries(&[
        ("message_id", &request.message_id),
        ("thread_id", &request.thread_id),
        ("recipient", &request.recipient),
        ("sender_account_id", &request.sender_account_id),
    ])?;
    let state = request.state.as_deref().map(str::to_ascii_lowercase);
    if state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        let detail = format!("state is none of {}", STATES.join(", "));
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(DeliveryCursor::decode);
    let work = async {
        let filter = DeliveryFilter {
            reader: &access::reader(&app, &call.caller).await?,
            message_id: request.message_id.as_deref(),
            thread_id: request.thread_id.as_deref(),
            recipient: request.recipient.as_deref(),
            sender_account_id: request.sender_account_id.as_deref(),
            state: state.as_deref(),
        };
        Ok(deliveries::page(app.store.pool(), &filter, after.as_ref(), limit + 1).await?)
    };
    let mut found = app.within("db.deliveries", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > wanted;
    found.truncate(wanted);
    let cursors: Vec<DeliveryCursor> = found
        .iter()
        .map(|row| DeliveryCursor {
            sent_at: row.sent_at,
            message_id: row.message_id.clone(),
            recipient: row.recipient.clone(),
        })
        .collect();
    let mut rows: Vec<DeliveryRow> = found.into_iter().map(row).collect();
    let cut = fit(&mut rows, app.row_budget());
    let last = rows.len().checked_sub(1).and_then(|last| cursors.get(last));
    Ok(DeliveriesResponse {
        limit,
        cursor: request.cursor,
        next_cursor: if more || cut { last.map(DeliveryCursor::encode) } else { None },
        deliveries: rows,
        generated_at: app.now().to_string(),
    })
}

pub(super) fn row(delivery: Delivery) -> DeliveryRow {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    DeliveryRow {
        message_id: delivery.message_id,
        recipient: delivery.recipient,
        state: delivery.state,
        sender_account_id: delivery.sender_account_id,
        thread_id: delivery.thread_id,
        sent_at: delivery.sent_at.to_string(),
        created_at: delivery.created_at.to_string(),
        handler_account_id: delivery.handler_account_id,
        owner_session: delivery.owner_session,
        attempts: delivery.attempts,
        redeliveries: delivery.redeliveries,
        next_attempt_at: text(delivery.next_attempt_at),
        waits_for_recipient: delivery.parked,
        expires_at: text(delivery.expires_at),
        last_code: delivery.last_code,
        last_detail: delivery.last_detail,
        accepted_at: text(delivery.accepted_at),
        finished_at: text(delivery.finished_at),
    }
}
