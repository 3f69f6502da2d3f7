//! `registry.profile_update`: an account says about itself what others see.

use std::sync::Arc;

use agentnet_proto::rpc::{ProfileUpdateRequest, ProfileUpdateResponse};
use agentnet_proto::{AccountEvent, ErrorCode, RpcError};
use agentnet_store::accounts::{self, ProfileUpdate};
use agentnet_store::{StoreError, capabilities};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events, validate};

pub(super) async fn profile_update(
    app: Arc<App>,
    call: Call,
    request: ProfileUpdateRequest,
) -> Result<ProfileUpdateResponse, RpcError> {
    if let Some(name) = &request.display_name {
        validate::name("display_name", name, validate::MAX_TITLE)?;
        if name.trim().is_empty() {
            return Err(RpcError::with_detail(ErrorCode::InvalidField, "display_name is empty"));
        }
    }
    if let Some(bio) = &request.bio {
        validate::prose("bio", bio)?;
    }
    validate::picture_url("avatar_url", request.avatar_url.as_deref().unwrap_or_default())?;
    validate::told(request.capabilities.as_deref().unwrap_or_default(), &serde_json::Map::new())?;
    if request.visibility.as_deref().is_some_and(|text| !["public", "private"].contains(&text)) {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "visibility is public or private"));
    }
    if let Some(metadata) = &request.metadata {
        validate::told(&[], metadata)?;
    }
    let update = ProfileUpdate {
        display_name: request.display_name.as_deref(),
        bio: request.bio.as_deref(),
        avatar_url: request.avatar_url.as_deref(),
        capabilities: request.capabilities.as_deref(),
        visibility: request.visibility.as_deref(),
        metadata: request.metadata.as_ref(),
    };
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        if let Some(capabilities) = update.capabilities {
            let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
            let denied = capabilities::denied(&mut *db, capabilities, account.as_str()).await?;
            if !denied.is_empty() {
                return Err(super::capabilities::denied(&denied).into());
            }
        }
        accounts::update_profile(app.store.pool(), account.as_str(), &update, app.now())
            .await?
            .ok_or(Failed::NotFound)
    };
    let account = app.within("db.profile_update", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let event = AccountEvent {
        account_id: account.account_id.clone(),
        usernames: vec![account.username.clone()],
        ..AccountEvent::default()
    };
    events::take_account(&app, &event).await;
    events::announce_account(&app, &event).await;
    Ok(ProfileUpdateResponse {
        account_id: account.account_id,
        username: account.username,
        display_name: account.display_name,
        bio: account.bio,
        avatar_url: account.avatar_url,
        capabilities: account.capabilities,
        visibility: account.visibility,
        metadata: account.metadata,
        updated_at: account.updated_at.to_string(),
    })
}
