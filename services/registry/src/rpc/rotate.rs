//! `registry.rotate`: another key takes the place of the one that speaks for an account.

use std::sync::Arc;

use agentnet_proto::rpc::{RotateRequest, RotateResponse};
use agentnet_proto::signature::Purpose;
use agentnet_proto::{AccountChange, AccountEvent, ErrorCode, RpcError, Timestamp};
use agentnet_store::{Connection, StoreError, keys};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::signed::{self, Signed};
use crate::{events, validate};

pub(super) async fn rotate(
    app: Arc<App>,
    call: Call,
    request: RotateRequest,
) -> Result<RotateResponse, RpcError> {
    if let Some(id) = &request.account_id {
        validate::account_id(id)?;
    }
    let [old, new] = signed::both(
        &call,
        &app.config.deployment,
        |nonce| Purpose::Rotate(nonce),
        |nonce| Purpose::RotateNew(nonce),
    )?;
    signed::is_fresh(&app, &old)?;
    if new.key.to_string() != request.public_key {
        let detail = "the second signature must be by the key that the request names";
        return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail));
    }
    let work = change(&app, &old, &new, request.account_id.as_deref());
    let (account_id, since, is_news) =
        app.within("db.rotate", QUERY_DEADLINE, ErrorCode::AuthValidationFailed, work).await?;
    if is_news {
        let event = AccountEvent {
            account_id: account_id.clone(),
            change: Some(AccountChange::Rotated),
            public_key: Some(old.key.to_string()),
            ..AccountEvent::default()
        };
        app.caches.forget_keys(&event).await;
        events::announce_keys(&app, &event).await;
        tracing::info!(account_id, old = %old.key, new = %new.key, "key rotated");
    }
    Ok(RotateResponse { account_id, public_key: request.public_key, rotated_at: since.to_string() })
}

/// The account, since when the new key speaks for it, and whether that is so because of this request.
async fn change(
    app: &App,
    old: &Signed,
    new: &Signed,
    account: Option<&str>,
) -> Result<(String, Timestamp, bool), Failed> {
    let failed = StoreError::query("rotate.transaction");
    let (old_key, new_key) = (old.key.to_string(), new.key.to_string());
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    keys::lock(&mut tx, &new_key).await?;
    let now = app.now();
    let held = keys::spans_of(&mut *tx, &old_key).await?;
    if held.iter().any(keys::KeySpan::is_session) {
        return Err(RpcError::from(ErrorCode::SessionKeyForbidden).into());
    }
    let held: Vec<keys::KeySpan> =
        held.into_iter().filter(|span| account.is_none_or(|account| span.account_id == account)).collect();
    let taken = keys::spans_of(&mut *tx, &new_key).await?;
    let (Some(span), true) = (held.first(), held.iter().filter(|span| span.is_active(now)).count() <= 1)
    else {
        let detail = "the key that signs speaks for no account, or for several: name the account_id";
        return Err(mismatch(detail));
    };
    if !span.is_active(now) {
        // The answer to this very change was lost, perhaps.
        let done = taken.iter().find(|new| new.account_id == span.account_id && new.is_active(now));
        return match done {
            Some(done) if span.ended_as.as_deref() == Some(keys::ROTATED) => {
                Ok((done.account_id.clone(), done.bound_at, false))
            }
            _ => Err(mismatch("the key that signs doesn't speak for the account any more")),
        };
    }
    if !taken.is_empty() {
        return Err(mismatch("the new key is or was in use; a key speaks for one account, once"));
    }
    signed::spend(app, &mut tx, &span.account_id, old).await?;
    replace(&mut tx, &span.account_id, &old_key, &new_key, now).await?;
    tx.commit().await.map_err(&failed)?;
    Ok((span.account_id.clone(), now, true))
}

async fn replace(
    tx: &mut Connection,
    account_id: &str,
    old: &str,
    new: &str,
    now: Timestamp,
) -> Result<(), Failed> {
    if !keys::end(tx, account_id, old, keys::ROTATED, now).await? {
        return Err(mismatch("the key that signs doesn't speak for the account any more"));
    }
    Ok(keys::bind(tx, account_id, new, now).await?)
}

fn mismatch(detail: &str) -> Failed {
    RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail).into()
}
