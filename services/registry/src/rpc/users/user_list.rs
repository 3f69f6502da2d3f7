//! `registry.user_list`: people, for operators.

use std::sync::Arc;

use agentnet_proto::rpc::{UserListRequest, UserListResponse, clamp_limit};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::users;

use super::user_row;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(in crate::rpc) async fn user_list(
    app: Arc<App>,
    call: Call,
    request: UserListRequest,
) -> Result<UserListResponse, RpcError> {
    validate::queries(&[("cursor", &request.cursor)])?;
    let limit = clamp_limit(request.limit, 50, 200);
    let work = async {
        access::operator_reads(&app, &call).await?;
        Ok(users::list(app.store.pool(), request.cursor.as_deref(), limit + 1).await?)
    };
    let mut found = app.within("db.user_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let wanted = usize::try_from(limit).unwrap_or(0);
    let more = found.len() > wanted;
    found.truncate(wanted);
    let next_cursor = found.last().filter(|_| more).map(|last| last.username.clone());
    Ok(UserListResponse {
        users: found.into_iter().map(user_row).collect(),
        next_cursor,
        generated_at: app.now().to_string(),
    })
}
