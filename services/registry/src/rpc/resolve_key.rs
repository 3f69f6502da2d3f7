//! `registry.resolve_key`: account to public key.

use std::sync::Arc;

use agentnet_proto::rpc::{KeyRow, ResolveKeyRequest, ResolveKeyResponse};
use agentnet_proto::{ErrorCode, RpcError, Timestamp};
use agentnet_store::{
    capabilities,
    keys::{self, KeySpan},
};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::cache::Miss;
use crate::caller::Call;
use crate::validate;

/// [`KeyRow::ended_as`] of a session key whose time is over.
const EXPIRED: &str = "expired";

pub(super) async fn resolve_key(
    app: Arc<App>,
    _: Call,
    request: ResolveKeyRequest,
) -> Result<ResolveKeyResponse, RpcError> {
    super::required(&request.account_id, ErrorCode::AccountIdRequired)?;
    validate::query("account_id", &request.account_id)?;
    validate::queries(&[("public_key", &request.public_key), ("capability", &request.capability)])?;
    if request.history {
        return history(&app, request.account_id).await;
    }
    let known = app.caches.known_key(&request.account_id).await;
    let (public_key, expires_at) = match known {
        Some(own) if request.public_key.as_deref().is_none_or(|asked| asked == &*own) => (own, None),
        _ => {
            let work = find(&app, &request);
            let found = app.within("db.resolve_key", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await;
            match found {
                // Who serves a capability may be an agent that never had a key.
                Err(error) if request.capability.is_some() && error.error == ErrorCode::NotFound.as_str() => {
                    (Arc::from(""), None)
                }
                found => found?,
            }
        }
    };
    let serves = match &request.capability {
        Some(name) => Some(serves(&app, &request.account_id, name).await?),
        None => None,
    };
    Ok(ResolveKeyResponse {
        suspended: app.suspended.contains(&request.account_id),
        account_id: request.account_id,
        public_key: public_key.to_string(),
        resolved_at: app.now().to_string(),
        expires_at: expires_at.map(|at| at.to_string()),
        keys: Vec::new(),
        serves,
    })
}

/// The key that was asked about if a login bound it to the account, the account's own else.
async fn find(app: &App, request: &ResolveKeyRequest) -> Result<(Arc<str>, Option<Timestamp>), Failed> {
    if let Some(asked) = &request.public_key {
        match app.caches.owner(&app.store, asked, app.now()).await {
            Ok(owner) if *owner.account_id == *request.account_id && owner.session_until.is_some() => {
                return Ok((Arc::from(asked.as_str()), owner.session_until));
            }
            Ok(_) | Err(Miss::NotFound) => {}
            Err(failed) => return Err(failed.into()),
        }
    }
    Ok((app.caches.key(&app.store, &request.account_id).await?, None))
}

/// Whether receipts and replies of the account for the capability count, by the rule of the persister. Not remembered
/// here: who may is known as soon as an operator has said so.
async fn serves(app: &App, account_id: &str, capability: &str) -> Result<bool, RpcError> {
    let work =
        async { Ok(!capabilities::holders(app.store.pool(), &[(account_id, capability)]).await?.is_empty()) };
    app.within("db.capability_holders", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await
}

/// Every key of its own that the account has and had, also of one that has none at present.
async fn history(app: &App, account_id: String) -> Result<ResolveKeyResponse, RpcError> {
    let work = async { Ok(keys::history(app.store.pool(), &[&account_id], &[]).await?) };
    let spans = app.within("db.key_history", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?;
    if spans.is_empty() {
        return Err(ErrorCode::NotFound.into());
    }
    let now = app.now();
    let active = spans.iter().find(|span| span.is_active(now));
    Ok(ResolveKeyResponse {
        public_key: active.map(|span| span.public_key.clone()).unwrap_or_default(),
        resolved_at: now.to_string(),
        expires_at: None,
        keys: spans.into_iter().map(|span| key_row(span, now)).collect(),
        serves: None,
        suspended: app.suspended.contains(&account_id),
        account_id,
    })
}

/// A key as the wire shows it.
pub(super) fn key_row(span: KeySpan, now: Timestamp) -> KeyRow {
    let ended_at = span.until().filter(|until| span.ended_at.is_some() || *until <= now);
    KeyRow {
        ended_as: ended_at.and_then(|_| span.ended_as.clone().or_else(|| Some(EXPIRED.to_owned()))),
        ended_at: ended_at.map(|at| at.to_string()),
        public_key: span.public_key,
        bound_at: span.bound_at.to_string(),
        expires_at: span.expires_at.map(|at| at.to_string()),
        via: span.via,
    }
}
