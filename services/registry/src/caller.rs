//! Who asks: what the network itself proves about a request, before its handler sees it.
//!
//! In secure mode a request comes on `registry.<method>.<token>`, and NATS lets a connection publish there under its own
//! account id (or, while its key is bound to no account, its own nkey) only: the token is the proof. In open and signed
//! mode requests come on `registry.<method>`, which everybody may use.

use agentnet_proto::rpc::RpcMethod;
use agentnet_proto::signature::{PublicKey, Purpose};
use agentnet_proto::subject::AccountId;
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::StoreError;
use async_nats::HeaderMap;
use bytes::Bytes;

use crate::app::{App, QUERY_DEADLINE};
use crate::cache::Miss;
use crate::signed::{self, Signed};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody: nothing is proved.
    Anyone,
    /// An account.
    Account(AccountId),
    /// A key that was bound to no account when it connected.
    Key(PublicKey),
}

impl Caller {
    /// Whether this may speak for `account_id`, as far as the subject tells: who proved nothing is not refused here.
    pub(crate) fn may_be(&self, account_id: Option<&str>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Account(id) => account_id == Some(id.as_str()),
            Self::Key(_) => false,
        }
    }

    /// The account, if one is proved.
    pub(crate) fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(id) => Some(id),
            Self::Anyone | Self::Key(_) => None,
        }
    }
}

/// A request beside its decoded body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Who asks.
    pub(crate) caller: Caller,
    /// Its headers: signature and nonce.
    pub(crate) headers: Option<HeaderMap>,
    /// The exact body, which a signature covers.
    pub(crate) body: Bytes,
    /// The caller's signature with the purpose `rpc`, if there is one. It was checked; its nonce isn't spent yet.
    pub(crate) signed: Option<Signed>,
    /// Whether a login bound the key that signed it.
    pub(crate) by_session_key: bool,
}

impl Call {
    /// For what takes the account's own key.
    ///
    /// # Errors
    /// [`ErrorCode::SessionKeyForbidden`].
    pub(crate) fn by_own_key(&self) -> Result<(), RpcError> {
        if self.by_session_key { Err(ErrorCode::SessionKeyForbidden.into()) } else { Ok(()) }
    }
}

/// Whom the subject proves.
///
/// # Errors
/// [`ErrorCode::Forbidden`] for a subject that proves nobody where somebody must be proved.
pub(crate) fn of_subject(security: Security, subject: &str) -> Result<Caller, RpcError> {
    if security != Security::Secure {
        return Ok(Caller::Anyone);
    }
    let token = subject.rsplit('.').next().unwrap_or_default();
    if let Some(id) = AccountId::new(token).ok().filter(AccountId::is_canonical) {
        return Ok(Caller::Account(id));
    }
    PublicKey::from_nkey(token).map(Caller::Key).map_err(|_| {
        let detail = "in secure mode a request goes to registry.<method>.<own account id>";
        RpcError::with_detail(ErrorCode::Forbidden, detail)
    })
}

/// Takes the signature of a request into account, where it carries one (purpose `rpc`): in signed mode it proves the
/// caller, in secure mode it must be the caller's. In open mode keys mean nothing.
///
/// # Errors
/// What is wrong with the signature; [`ErrorCode::AuthPublicKeyMismatch`] when it is by a key that speaks for nobody or,
/// in secure mode, for another than the caller.
pub(crate) async fn prove(app: &App, method: RpcMethod, mut call: Call) -> Result<Call, RpcError> {
    if app.config.security == Security::Open || !method.is_signed_as_rpc() || !signed::is_signed(&call) {
        return Ok(call);
    }
    let signed = signed::one(&call, &app.config.deployment, |nonce| Purpose::Rpc { method, nonce })?;
    signed::is_fresh(app, &signed)?;
    let key = signed.key.to_string();
    let work = async {
        match app.caches.owner(&app.store, &key, app.now()).await {
            Ok(owner) => Ok(AccountId::new(&*owner.account_id).ok().map(|id| (id, owner.session_until))),
            Err(Miss::NotFound) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    };
    let owner = app.within("db.key_owner", QUERY_DEADLINE, ErrorCode::AuthValidationFailed, work).await?;
    match owner {
        Some((owner, session_until)) if call.caller.may_be(Some(owner.as_str())) => {
            (call.caller, call.signed) = (Caller::Account(owner), Some(signed));
            call.by_session_key = session_until.is_some();
            Ok(call)
        }
        _ => {
            let detail = "the key that signs the request doesn't speak for the caller";
            Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail))
        }
    }
}

/// Whatever changes something calls this first: in signed and secure mode the request must carry its caller's
/// signature, and is taken once. In open mode anybody may do anything.
///
/// # Errors
/// [`ErrorCode::AuthRequired`], [`ErrorCode::AuthNonceReplayed`], [`ErrorCode::AuthValidationFailed`].
pub(crate) async fn require_signature(app: &App, call: &Call) -> Result<(), RpcError> {
    if app.config.security == Security::Open {
        return Ok(());
    }
    let (Some(signed), Some(account)) = (&call.signed, call.caller.account()) else {
        let detail = "this request must be signed with the key of the account that asks";
        return Err(RpcError::with_detail(ErrorCode::AuthRequired, detail));
    };
    let work = async {
        let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
        signed::spend(app, &mut db, account.as_str(), signed).await
    };
    app.within("db.spend_nonce", QUERY_DEADLINE, ErrorCode::AuthValidationFailed, work).await
}

/// Whether the answer to a request on `subject` may go to `reply`: in secure mode only below the caller's own prefix,
/// `_INBOX.<last token of the subject>.`, or a caller could make the registry speak to others.
pub(crate) fn may_answer(subject: &str, reply: &str) -> bool {
    let Some((_, token)) = subject.rsplit_once('.') else { return false };
    let rest = reply.strip_prefix("_INBOX.").and_then(|rest| rest.strip_prefix(token));
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) else { return false };
    !rest.split('.').any(|token| matches!(token, "" | "*" | ">"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "acct_01j0000000000000000000000z";

    #[test]
    fn the_last_token_is_the_caller_in_secure_mode_only() {
        let subject = format!("registry.list.{ACCOUNT}");
        let account = AccountId::new(ACCOUNT).unwrap();
        assert_eq!(of_subject(Security::Secure, &subject), Ok(Caller::Account(account)));
        assert_eq!(of_subject(Security::Open, &subject), Ok(Caller::Anyone));
        assert_eq!(of_subject(Security::Signed, "registry.list"), Ok(Caller::Anyone));
        let key = agentnet_proto::signature::SecretKey::from_seed(&[7; 32]).verifying();
        let subject = format!("registry.register.{}", key.to_nkey());
        assert_eq!(of_subject(Security::Secure, &subject), Ok(Caller::Key(key)));
        for stranger in ["registry.list", "registry.list.acct_x", "registry.list.*", ""] {
            let refused = of_subject(Security::Secure, stranger).unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::Forbidden), "{stranger}");
        }
    }

    #[test]
    fn answers_stay_below_the_callers_prefix() {
        let subject = format!("registry.list.{ACCOUNT}");
        assert!(may_answer(&subject, &format!("_INBOX.{ACCOUNT}.abc")));
        assert!(may_answer(&subject, &format!("_INBOX.{ACCOUNT}.abc.1")));
        for elsewhere in [
            "_INBOX.acct_01j0000000000000000000000y.abc",
            "_INBOX.abc",
            "$JS.API.STREAM.DELETE.AGENTNET",
            "account.acct_01j0000000000000000000000y.inbox",
            &format!("_INBOX.{ACCOUNT}"),
            &format!("_INBOX.{ACCOUNT}."),
            &format!("_INBOX.{ACCOUNT}.>"),
            &format!("_INBOX.{ACCOUNT}x.abc"),
        ] {
            assert!(!may_answer(&subject, elsewhere), "{elsewhere}");
        }
    }
}
