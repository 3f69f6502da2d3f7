//! Whether a hello or a goodbye comes from the account whose session it names.

use agentnet_proto::Security;
use agentnet_proto::signature::{Purpose, SignatureHeader};

use crate::app::{App, QUERY_DEADLINE};
use crate::cache::Miss;
use crate::caller::Call;
use crate::signed;

/// May it speak for the session?
pub(super) enum Verdict {
    Yes,
    No,
    /// The signature is good; whose key it is has to be looked up.
    AskStore(Question),
}

/// Whether the key speaks for the account.
pub(super) struct Question {
    account_id: String,
    key: String,
}

impl Question {
    /// Asks Postgres.
    pub(super) async fn answer(&self, app: &App) -> bool {
        let work = async {
            match app.caches.key(&app.store, &self.account_id).await {
                Ok(own) if *own == *self.key => return Ok(true),
                Ok(_) | Err(Miss::NotFound) => {}
                Err(failed) => return Err(failed.into()),
            }
            // A login may have bound it.
            match app.caches.owner(&app.store, &self.key, app.now()).await {
                Ok(owner) => Ok(*owner.account_id == *self.account_id),
                Err(Miss::NotFound) => Ok(false),
                Err(failed) => Err(failed.into()),
            }
        };
        let code = agentnet_proto::ErrorCode::AuthValidationFailed;
        app.within("db.hello_key", QUERY_DEADLINE, code, work).await.unwrap_or(false)
    }
}

/// `claimed` is the account that the body names. A session belongs to one account for ever.
///
/// In secure mode the subject proves the account. In signed mode the signature does; what original SDKs say unsigned
/// counts for sessions that can't sign (before 1.2), and only for those that are known.
pub(super) async fn may_speak(
    app: &App,
    call: &Call,
    tag: &str,
    claimed: Option<&str>,
    purpose: &Purpose<'_>,
) -> Verdict {
    if app.config.security == Security::Open {
        return Verdict::Yes;
    }
    let known = app.presence.whose(tag);
    let owner = known.as_ref().and_then(|(account, _)| account.as_deref());
    let account = match (owner, claimed) {
        (Some(owner), Some(claimed)) if owner != claimed => return Verdict::No,
        // Another replica, or the sweep over stale rows, deals with a session that isn't known here.
        (None, None) => return Verdict::No,
        (owner, claimed) => owner.or(claimed).unwrap_or_default(),
    };
    if app.config.security == Security::Secure {
        return if call.caller.may_be(Some(account)) { Verdict::Yes } else { Verdict::No };
    }
    let mut headers = signed::headers(call.headers.as_ref());
    let Some(header) = headers.next() else {
        let is_old = known.as_ref().is_some_and(|(_, speaks_1_2)| !speaks_1_2);
        return if is_old { Verdict::Yes } else { Verdict::No };
    };
    let Ok(header) = header.parse::<SignatureHeader>() else { return Verdict::No };
    let key = header.key.to_string();
    if header.verify(purpose, &app.config.deployment, &call.body).is_err() {
        return Verdict::No;
    }
    let is_own = app.caches.known_key(account).await.is_some_and(|own| *own == *key);
    let is_sessions = || async {
        let known = app.caches.known_owner(&key, app.now()).await;
        known.is_some_and(|owner| *owner.account_id == *account)
    };
    match is_own || is_sessions().await {
        true => Verdict::Yes,
        false => Verdict::AskStore(Question { account_id: account.to_owned(), key }),
    }
}
