//! `registry.resolve_key`: account to public key.

use std::sync::Arc;

use agentnet_proto::rpc::{KeyRow, ResolveKeyRequest, ResolveKeyResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::keys::{self, KeySpan};

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn resolve_key(
    app: Arc<App>,
    _: Call,
    request: ResolveKeyRequest,
) -> Result<ResolveKeyResponse, RpcError> {
    super::required(&request.account_id, ErrorCode::AccountIdRequired)?;
    validate::query("account_id", &request.account_id)?;
    if request.history {
        return history(&app, request.account_id).await;
    }
    let public_key = match app.caches.known_key(&request.account_id).await {
        Some(key) => key,
        None => {
            let work = async { Ok(app.caches.key(&app.store, &request.account_id).await?) };
            app.within("db.resolve_key", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?
        }
    };
    Ok(ResolveKeyResponse {
        account_id: request.account_id,
        public_key: public_key.to_string(),
        resolved_at: app.now().to_string(),
        keys: Vec::new(),
    })
}

/// Every key of the account, also of one that has none at present.
async fn history(app: &App, account_id: String) -> Result<ResolveKeyResponse, RpcError> {
    let work = async { Ok(keys::history(app.store.pool(), &[&account_id]).await?) };
    let spans = app.within("db.key_history", QUERY_DEADLINE, ErrorCode::ResolveFailed, work).await?;
    if spans.is_empty() {
        return Err(ErrorCode::NotFound.into());
    }
    let active = spans.iter().find(|span| span.is_active());
    Ok(ResolveKeyResponse {
        public_key: active.map(|span| span.public_key.clone()).unwrap_or_default(),
        resolved_at: app.now().to_string(),
        keys: spans.into_iter().map(key_row).collect(),
        account_id,
    })
}

/// A key as the wire shows it.
pub(super) fn key_row(span: KeySpan) -> KeyRow {
    KeyRow {
        public_key: span.public_key,
        bound_at: span.bound_at.to_string(),
        ended_at: span.ended_at.map(|at| at.to_string()),
        ended_as: span.ended_as,
    }
}
