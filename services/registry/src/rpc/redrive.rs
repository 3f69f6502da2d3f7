//! `registry.redrive`: what was given up becomes pending again, with all its attempts before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentnet_proto::rpc::{DeliveryKey, RedriveRequest, RedriveResponse, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::deliveries::{self, Redrive};

use super::fit::fit;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

const MOST: i64 = 1_000;

pub(super) async fn redrive(
    app: Arc<App>,
    call: Call,
    request: RedriveRequest,
) -> Result<RedriveResponse, RpcError> {
    validate::queries(&[("message_id", &request.message_id), ("recipient", &request.recipient)])?;
    if request.message_id.is_none() && request.recipient.is_none() && !request.all {
        let detail = "name a message_id or a recipient, or say all";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let limit = clamp_limit(request.limit, MOST, MOST);
    let wanted =
        Redrive { message_id: request.message_id.as_deref(), recipient: request.recipient.as_deref() };
    let work = async {
        access::operator(&app, &call, None).await?;
        Ok(deliveries::redrive(app.store.pool(), &wanted, limit).await?)
    };
    let keys = app.within("db.redrive", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    let more = i64::try_from(keys.len()).unwrap_or(i64::MAX) >= limit;
    let recipients: BTreeSet<String> = keys.iter().map(|(_, recipient)| recipient.clone()).collect();
    let by = call.caller.account().map_or("anyone", |id| id.as_str());
    tracing::info!(by, redriven = keys.len(), recipients = recipients.len(), "deliveries are tried again");
    app.presence.wake(recipients);
    let mut redriven: Vec<DeliveryKey> =
        keys.into_iter().map(|(message_id, recipient)| DeliveryKey { message_id, recipient }).collect();
    // All are redriven, though not all may fit into the answer.
    fit(&mut redriven, app.row_budget());
    Ok(RedriveResponse { redriven, more, generated_at: app.now().to_string() })
}
