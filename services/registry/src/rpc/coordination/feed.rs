//! `registry.feed`: what changed, in an order that never gets anything earlier.

use std::sync::Arc;

use agentnet_proto::rpc::{FeedEvent, FeedRequest, FeedResponse, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::agents::{self, FeedPosition};

use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::agents::reader;
use crate::rpc::fit::fit;
use crate::users::gateways;
use crate::validate;

pub(in crate::rpc) async fn feed(
    app: Arc<App>,
    call: Call,
    request: FeedRequest,
) -> Result<FeedResponse, RpcError> {
    validate::words("kinds", &request.kinds)?;
    let limit = clamp_limit(request.limit, 100, 500);
    let after = match request.after.as_deref() {
        None => None,
        Some(text) => Some(FeedPosition::parse(text).ok_or_else(|| {
            RpcError::with_detail(
                ErrorCode::InvalidField,
                "after is no id of an event; leave it out to begin now",
            )
        })?),
    };
    let work = async {
        if app.config.security != Security::Open {
            // Who sees what has to be known.
            access::owner(&app, &call, None)?;
        }
        let reader = match reader(&app, &call).await? {
            // Gateways look out for all who watch there, and pass on what each may see.
            Some(account) if gateways::is_gateway(&app, account.as_str()).await? => None,
            reader => reader,
        };
        Ok(agents::read_feed(app.store.pool(), after, &request.kinds, reader.as_ref(), limit).await?)
    };
    let page = app.within("db.feed", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let event = |(id, kind, at, body): (FeedPosition, String, agentnet_proto::Timestamp, _)| FeedEvent {
        id: id.to_string(),
        kind,
        at: at.to_string(),
        body,
    };
    let mut events: Vec<FeedEvent> = page.events.into_iter().map(event).collect();
    let cut = fit(&mut events, app.row_budget());
    let next = match events.last() {
        Some(last) if cut => last.id.clone(),
        _ => page.next.to_string(),
    };
    Ok(FeedResponse { events, next, more: cut || page.more, generated_at: app.now().to_string() })
}
