//! `registry.list`: sessions online, out of memory.
//!
//! The answer never exceeds what NATS carries: it ends early with `next_cursor` then (at about 4,000 agents with
//! the default of 1 MiB). The original's clients, which know no cursor, see the first page.

use std::sync::Arc;

use agentnet_proto::rpc::{ListRequest, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_service::rpc::decode_object;
use bytes::Bytes;

use crate::app::App;
use crate::caller::Call;
use crate::presence::{ListQuery, Liveness, decode_cursor};
use crate::validate;

const MAX_LIMIT: i64 = 10_000;

/// Encodes by itself: the sessions are kept as JSON already.
pub(super) async fn list(app: Arc<App>, _: Call, body: Bytes) -> Result<Bytes, RpcError> {
    let request: ListRequest = decode_object(&body).map_err(|fault| super::faults("list", fault))?;
    let liveness = match request.status.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("online") => Some(Liveness::Online),
        Some("late") => Some(Liveness::Late),
        Some(_) => {
            return Err(RpcError::with_detail(ErrorCode::InvalidField, "status is neither online nor late"));
        }
    };
    validate::queries(&[
        ("capability", &request.capability),
        ("account_id", &request.account_id),
        ("sub_system_type", &request.sub_system_type),
    ])?;
    let limit = clamp_limit(request.limit, MAX_LIMIT, MAX_LIMIT);
    let page = app.presence.list(&ListQuery {
        capability: request.capability.as_deref(),
        sub_system_type: request.sub_system_type.as_deref(),
        liveness,
        account_id: request.account_id.as_deref(),
        after: request.cursor.as_deref().and_then(decode_cursor),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        max_bytes: app.client.max_payload(),
        generated_at: app.now(),
    });
    Ok(page.body.into())
}
