//! Who may do and read what: the one place that asks. What a reader then sees is decided in the store, by
//! [`agentnet_store::access`].

use agentnet_proto::subject::AccountId;
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::access::Reader;

use crate::app::{App, Failed};
use crate::cache::Miss;
use crate::caller::{self, Call, Caller};
use crate::users::gateways;
use crate::validate;

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

/// Who asks, if that is known: the account that the network proves, which is the one the request may name; where nothing
/// is proved, the one it names.
///
/// # Errors
/// [`ErrorCode::Forbidden`], [`ErrorCode::InvalidAccountId`].
pub(crate) fn asker(app: &App, call: &Call, claimed: Option<&str>) -> Result<Option<AccountId>, RpcError> {
    match (&call.caller, claimed) {
        (Caller::Account(account), None) => Ok(Some(account.clone())),
        (Caller::Account(account), Some(claimed)) if claimed == account.as_str() => Ok(Some(account.clone())),
        (Caller::Account(_), Some(_)) => {
            let detail = "account_id names another account than the one that asks";
            Err(RpcError::with_detail(ErrorCode::Forbidden, detail))
        }
        (Caller::Key(_), _) => Err(nobody()),
        (Caller::Anyone, _) if app.config.security != Security::Open => Ok(None),
        (Caller::Anyone, None) => Ok(None),
        (Caller::Anyone, Some(claimed)) => Ok(Some(AccountId::new(claimed)?)),
    }
}

/// Who asks for what is theirs alone to read.
///
/// # Errors
/// As [`asker`]; [`ErrorCode::AuthRequired`], [`ErrorCode::AccountIdRequired`] when that isn't known.
pub(crate) fn owner(app: &App, call: &Call, claimed: Option<&str>) -> Result<AccountId, RpcError> {
    match asker(app, call, claimed)? {
        Some(account) => Ok(account),
        None if app.config.security == Security::Open => Err(ErrorCode::AccountIdRequired.into()),
        None => {
            let detail = "this request must be signed with the key of the account that asks";
            Err(RpcError::with_detail(ErrorCode::AuthRequired, detail))
        }
    }
}

/// The account that a text names: its id, or its username with or without an `@`.
///
/// # Errors
/// [`ErrorCode::InvalidField`]; not found, which says who; Postgres.
pub(crate) async fn named(app: &App, field: &str, text: &str) -> Result<AccountId, Failed> {
    validate::query(field, text)?;
    if text.is_empty() {
        let detail = format!("{field} is required: an account id or username");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
    }
    if AccountId::new(text).is_ok() {
        match app.caches.account(&app.store, text).await {
            Ok(account) => return Ok(AccountId::new(account.account_id.clone()).map_err(RpcError::from)?),
            Err(Miss::NotFound) => {}
            Err(failed) => return Err(failed.into()),
        }
    }
    match app.caches.id_of_username(&app.store, &normalize_username(text.trim_start_matches('@'))).await {
        Ok(id) => Ok(AccountId::new(&*id).map_err(RpcError::from)?),
        Err(Miss::NotFound) => {
            let detail = format!("there is no account {text}");
            Err(RpcError::with_detail(ErrorCode::NotFound, detail).into())
        }
        Err(failed) => Err(failed.into()),
    }
}

/// Who asks for a change. Where the network proves the caller, the request may name nobody else; where nothing is proved,
/// it has to say who asks.
///
/// # Errors
/// [`ErrorCode::AuthRequired`] unless it is signed, where the network wants that; [`ErrorCode::Forbidden`], [`ErrorCode::AccountIdRequired`]; [`ErrorCode::Suspended`]; not found; Postgres.
pub(crate) async fn actor(app: &App, call: &Call, claimed: Option<&str>) -> Result<AccountId, Failed> {
    caller::require_signature(app, call).await?;
    let account = owner(app, call, claimed)?;
    check_standing(app, account.as_str())?;
    match app.caches.account(&app.store, account.as_str()).await {
        Ok(_) => Ok(account),
        Err(Miss::NotFound) => {
            let detail = format!("there is no account {account}; register it first");
            Err(RpcError::with_detail(ErrorCode::NotFound, detail).into())
        }
        Err(failed) => Err(failed.into()),
    }
}

/// Whether the account isn't locked out.
///
/// # Errors
/// [`ErrorCode::Suspended`].
pub(crate) fn check_standing(app: &App, account_id: &str) -> Result<(), RpcError> {
    if app.suspended.contains(account_id) { Err(ErrorCode::Suspended.into()) } else { Ok(()) }
}

/// Who asks for what only operators may do. In open mode anybody may, and may leave out who they are.
///
/// # Errors
/// As [`actor`]; [`ErrorCode::Forbidden`] for whoever is no operator.
pub(crate) async fn operator(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
) -> Result<Option<AccountId>, Failed> {
    if app.config.security == Security::Open && claimed.is_none() {
        return Ok(None);
    }
    let account = actor(app, call, claimed).await?;
    if app.config.security == Security::Open || is_operator(app, &account).await? {
        return Ok(Some(account));
    }
    Err(only_operators().into())
}

/// Who asks, and whether it is an operator, where others may do some of it, too. `None` is anybody, in open mode.
///
/// # Errors
/// As [`actor`].
pub(crate) async fn operator_or_other(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
) -> Result<Option<(AccountId, bool)>, Failed> {
    if app.config.security == Security::Open && claimed.is_none() {
        return Ok(None);
    }
    let account = actor(app, call, claimed).await?;
    let may = app.config.security == Security::Open || is_operator(app, &account).await?;
    Ok(Some((account, may)))
}

/// Who asks for what only gateways may: what somebody showed them. In open mode anybody may, and may leave out who they
/// are.
///
/// # Errors
/// As [`actor`]; [`ErrorCode::Forbidden`] for whoever is no gateway.
pub(crate) async fn gateway(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
) -> Result<Option<AccountId>, Failed> {
    if app.config.security == Security::Open && claimed.is_none() {
        return Ok(None);
    }
    let account = actor(app, call, claimed).await?;
    if app.config.security == Security::Open || gateways::is_gateway(app, account.as_str()).await? {
        return Ok(Some(account));
    }
    let detail = "only gateways may do this; AGENTNET_GATEWAY_KEYS of the registry names their keys";
    Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into())
}

/// Whether the caller may read what only operators may.
///
/// # Errors
/// [`ErrorCode::Forbidden`]; Postgres.
pub(crate) async fn operator_reads(app: &App, call: &Call) -> Result<(), Failed> {
    match (app.config.security, &call.caller) {
        (Security::Open, _) => Ok(()),
        (_, Caller::Account(account)) if is_operator(app, account).await? => Ok(()),
        _ => Err(only_operators().into()),
    }
}

pub(crate) fn only_operators() -> RpcError {
    RpcError::with_detail(
        ErrorCode::Forbidden,
        "only operators may do this; `agentnet operator list` names them",
    )
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
