//! `registry.why`: the whole path of one message.

use std::sync::Arc;

use agentnet_proto::rpc::{DeliveryEventRow, WhyRequest, WhyResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::deliveries::{self, DeliveryEvent};

use super::deliveries::row;
use super::fit::fit;
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn why(app: Arc<App>, call: Call, request: WhyRequest) -> Result<WhyResponse, RpcError> {
    if request.message_id.is_empty() {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "message_id is required"));
    }
    validate::query("message_id", &request.message_id)?;
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        deliveries::why(app.store.pool(), &reader, &request.message_id).await?.ok_or(Failed::NotFound)
    };
    let path = app.within("db.why", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    let mut rows: Vec<_> = path.deliveries.into_iter().map(row).collect();
    let mut events: Vec<_> = path.events.into_iter().map(event).collect();
    fit(&mut rows, app.row_budget() / 2);
    fit(&mut events, app.row_budget() / 2);
    Ok(WhyResponse {
        message_id: path.message_id,
        thread_id: path.thread_id,
        from_account_id: path.from_account_id,
        from_session_tag: path.from_session_tag,
        to_agent: path.to_agent,
        kind: path.kind,
        sent_at: path.sent_at.to_string(),
        received_at: path.received_at.to_string(),
        expires_at: path.expires_at.map(|at| at.to_string()),
        deliveries: rows,
        events,
        generated_at: app.now().to_string(),
    })
}

fn event(event: DeliveryEvent) -> DeliveryEventRow {
    DeliveryEventRow {
        at: event.at.to_string(),
        what: event.what,
        recipient: event.recipient,
        attempt: event.attempt,
        account_id: event.account_id,
        session: event.session,
        code: event.code,
        detail: event.detail,
    }
}
