//! `registry.profile`: one account with its sessions online.

use std::sync::Arc;

use agentnet_proto::rpc::{Profile, ProfileRequest, ProfileResponse};
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::accounts::Account;

use super::fit::fit;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::validate;

/// Most sessions shown.
const MAX_SESSIONS: usize = 1_000;

pub(super) async fn profile(app: Arc<App>, request: ProfileRequest) -> Result<ProfileResponse, RpcError> {
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
    let mut sessions = app.presence.of_account(&account.account_id, MAX_SESSIONS);
    fit(&mut sessions, app.row_budget() / 2);
    let profile = Profile {
        account_id: account.account_id.clone(),
        username: account.username.clone(),
        display_name: account.display_name.clone(),
        bio: account.bio.clone(),
        capabilities: account.capabilities.clone(),
        metadata: account.metadata.clone(),
        visibility: account.visibility.clone(),
        status: account.status.clone(),
        created_at: account.created_at.to_string(),
        updated_at: account.updated_at.to_string(),
        online: !sessions.is_empty(),
        online_sessions: sessions,
    };
    Ok(ProfileResponse { profile, generated_at: app.now().to_string() })
}

/// The account, if nothing has to be asked for.
async fn known(app: &App, request: &ProfileRequest) -> Option<Arc<Account>> {
    match (&request.account_id, &request.username) {
        (Some(id), _) => app.caches.known_account(id).await,
        (None, Some(name)) => {
            let id = app.caches.known_id_of_username(&normalize_username(name)).await?;
            app.caches.known_account(&id).await
        }
        (None, None) => None,
    }
}

async fn find(app: &App, request: &ProfileRequest) -> Result<Arc<Account>, Failed> {
    let id: Arc<str> = match (&request.account_id, &request.username) {
        (Some(id), _) => id.as_str().into(),
        (None, Some(name)) => app.caches.id_of_username(&app.store, &normalize_username(name)).await?,
        (None, None) => return Err(Failed::NotFound),
    };
    Ok(app.caches.account(&app.store, &id).await?)
}
