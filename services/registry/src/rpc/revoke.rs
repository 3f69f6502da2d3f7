//! `registry.revoke`: a key is taken out of use, by its owner or by an operator.

use std::sync::Arc;

use agentnet_proto::rpc::{RevokeRequest, RevokeResponse};
use agentnet_proto::signature::Purpose;
use agentnet_proto::subject::AccountId;
use agentnet_proto::{AccountChange, AccountEvent, ErrorCode, RpcError, Timestamp};
use agentnet_store::{StoreError, accounts, keys};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::signed::{self, Signed};
use crate::{events, validate};

pub(super) async fn revoke(
    app: Arc<App>,
    call: Call,
    request: RevokeRequest,
) -> Result<RevokeResponse, RpcError> {
    super::required(&request.account_id, ErrorCode::AccountIdRequired)?;
    validate::account_id(&request.account_id)?;
    validate::queries(&[("public_key", &request.public_key)])?;
    let signer = signed::one(&call, &app.config.deployment, |nonce| Purpose::Revoke(nonce))?;
    signed::is_fresh(&app, &signer)?;
    let work = end(&app, &signer, &request);
    let (public_key, at, is_news) =
        app.within("db.revoke", QUERY_DEADLINE, ErrorCode::AuthValidationFailed, work).await?;
    if is_news {
        let event = AccountEvent {
            account_id: request.account_id.clone(),
            change: Some(AccountChange::Revoked),
            public_key: Some(public_key.clone()),
            ..AccountEvent::default()
        };
        app.caches.forget_keys(&event).await;
        events::announce_keys(&app, &event).await;
        tracing::info!(account_id = request.account_id, public_key, by = %signer.key, "key revoked");
    }
    Ok(RevokeResponse { account_id: request.account_id, public_key, revoked_at: at.to_string() })
}

/// The key, since when it is out of use, and whether that is so because of this request.
async fn end(
    app: &App,
    signer: &Signed,
    request: &RevokeRequest,
) -> Result<(String, Timestamp, bool), Failed> {
    let failed = StoreError::query("revoke.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let speaks_for = keys::spans_of(&mut *tx, &signer.key.to_string()).await?;
    let now = app.now();
    if speaks_for.iter().any(keys::KeySpan::is_session) {
        return Err(RpcError::from(ErrorCode::SessionKeyForbidden).into());
    }
    let owns = speaks_for.iter().any(|span| span.is_active(now) && span.account_id == request.account_id);
    let by = match accounts::owner_of_key(&mut *tx, &signer.key.to_string(), now).await? {
        Some(_) if owns => request.account_id.clone(),
        Some(owner) if is_operator(app, &owner.standing.account_id).await? => owner.standing.account_id,
        Some(_) => {
            let detail =
                "only its owner, with the key that speaks for the account, or an operator revokes a key";
            return Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into());
        }
        None => {
            let detail = "the key that signs speaks for no account";
            return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail).into());
        }
    };
    signed::spend(app, &mut tx, &by, signer).await?;
    let named: Vec<&str> = request.public_key.as_deref().into_iter().collect();
    let known = keys::history(&mut *tx, &[&request.account_id], &named).await?;
    let wanted = |span: &&keys::KeySpan| match &request.public_key {
        Some(key) => span.public_key == *key,
        None => span.is_active(now),
    };
    let Some(span) = known.iter().find(wanted) else { return Err(Failed::NotFound) };
    let is_news = keys::end(&mut tx, &span.account_id, &span.public_key, keys::REVOKED, now).await?;
    let ended_at = span.ended_at.unwrap_or(now);
    tx.commit().await.map_err(&failed)?;
    Ok((span.public_key.clone(), ended_at, is_news))
}

async fn is_operator(app: &App, account_id: &str) -> Result<bool, Failed> {
    match AccountId::new(account_id) {
        Ok(account) => access::is_operator(app, &account).await,
        Err(_) => Ok(false),
    }
}
