//! Who may do and read what: the one place that asks. What a reader then sees is decided in the store, by
//! [`agentnet_store::access`].

use agentnet_proto::subject::AccountId;
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::access::Reader;

use crate::app::{App, Failed};
use crate::cache::Miss;
use crate::caller::Caller;

/// Role of accounts that run the network.
pub(crate) const OPERATOR: &str = "operator";

/// With whose eyes the caller reads.
///
/// # Errors
/// [`ErrorCode::Forbidden`] for a key without an account; Postgres.
pub(crate) async fn reader(app: &App, caller: &Caller) -> Result<Reader, Failed> {
    let account = match (app.config.security, caller) {
        (Security::Open, _) => return Ok(Reader::Everything),
        (Security::Signed, Caller::Anyone) => return Ok(Reader::Open(None)),
        (_, Caller::Account(account)) => account,
        (_, Caller::Anyone | Caller::Key(_)) => return Err(nobody().into()),
    };
    Ok(if is_operator(app, account).await? {
        Reader::Everything
    } else if app.config.security == Security::Secure {
        Reader::Own(account.clone())
    } else {
        Reader::Open(Some(account.clone()))
    })
}

fn nobody() -> RpcError {
    RpcError::with_detail(ErrorCode::Forbidden, "register an account with this key first")
}

/// Whether the account runs the network: by its key, which the configuration names, or because an operator said so.
pub(crate) async fn is_operator(app: &App, account: &AccountId) -> Result<bool, Failed> {
    let granted = match app.caches.account(&app.store, account.as_str()).await {
        Ok(known) => known.role == OPERATOR,
        Err(Miss::NotFound) => return Ok(false),
        Err(failed) => return Err(failed.into()),
    };
    if granted || app.config.operator_keys.is_empty() {
        return Ok(granted);
    }
    match app.caches.key(&app.store, account.as_str()).await {
        Ok(key) => Ok(app.config.operator_keys.iter().any(|named| *named == *key)),
        Err(Miss::NotFound) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}
