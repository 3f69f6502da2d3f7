//! `registry.profile`: one account with its sessions online.

use std::io::Write as _;
use std::sync::Arc;

use agentnet_proto::rpc::ProfileRequest;
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_service::rpc::decode_object;
use bytes::Bytes;

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::cache::KnownAccount;
use crate::caller::Call;
use crate::validate;

/// Most sessions shown.
const MAX_SESSIONS: usize = 1_000;

/// Encodes by itself: account and sessions are kept as JSON already. The shape is [`ProfileResponse`]'s.
///
/// [`ProfileResponse`]: agentnet_proto::rpc::ProfileResponse
pub(super) async fn profile(app: Arc<App>, _: Call, body: Bytes) -> Result<Bytes, RpcError> {
    let request: ProfileRequest = decode_object(&body).map_err(|fault| super::faults("profile", fault))?;
    validate::queries(&[("account_id", &request.account_id), ("username", &request.username)])?;
    if request.account_id.is_none() && request.username.is_none() {
        return Err(ErrorCode::AccountOrUsernameRequired.into());
    }
    let account = match known(&app, &request).await {
        Some(account) => account,
        None => {
            let work = find(&app, &request);
            app.within("db.profile", QUERY_DEADLINE, ErrorCode::ProfileFailed, work).await?
        }
    };
    let mut json = Vec::with_capacity(account.json.len() + 1024);
    json.extend_from_slice(b"{\"profile\":{");
    json.extend_from_slice(account.json.as_bytes());
    json.extend_from_slice(b",\"online_sessions\":[");
    let budget = app.row_budget().saturating_sub(account.json.len());
    let shown = app.presence.write_sessions(&account.account_id, MAX_SESSIONS, budget, &mut json);
    // A Vec refuses no write.
    let _ = write!(json, "],\"online\":{}}},\"generated_at\":\"{}\"}}", shown > 0, app.now());
    Ok(json.into())
}

/// The account, if nothing has to be asked for.
async fn known(app: &App, request: &ProfileRequest) -> Option<Arc<KnownAccount>> {
    match (&request.account_id, &request.username) {
        (Some(id), _) => app.caches.known_account(id).await,
        (None, Some(name)) => {
            let id = app.caches.known_id_of_username(&normalize_username(name)).await?;
            app.caches.known_account(&id).await
        }
        (None, None) => None,
    }
}

async fn find(app: &App, request: &ProfileRequest) -> Result<Arc<KnownAccount>, Failed> {
    let id: Arc<str> = match (&request.account_id, &request.username) {
        (Some(id), _) => id.as_str().into(),
        (None, Some(name)) => app.caches.id_of_username(&app.store, &normalize_username(name)).await?,
        (None, None) => return Err(Failed::NotFound),
    };
    Ok(app.caches.account(&app.store, &id).await?)
}
